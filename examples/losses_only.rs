//! The losses of Scale-Equivalent Distillation on someone else's tensors.
//!
//! Your own detector gives class logits `[N, A, C]` and box deltas `[N, A, 4]` for three views of the
//! same unlabeled images; here they are random. Run with `cargo run --release --example losses_only`.

use burn::tensor::{Device, Distribution, Tensor};
use sed::core::objective::{Objective, ObjectiveConfig};
use sed::core::{ClassActivation, InvalidOption, Predictions, StageViews, ViewPair};

const IMAGES: usize = 2;
const CLASSES: usize = 3;

/// What a head gives, nearly all background, as in practice.
fn head_outputs(anchors: usize, device: &Device) -> Predictions {
    let logits =
        Tensor::random([IMAGES, anchors, CLASSES], Distribution::Normal(-4.0, 1.0), device).require_grad();
    let deltas = Tensor::random([IMAGES, anchors, 4], Distribution::Normal(0.0, 0.2), device).require_grad();
    Predictions::new(logits, deltas)
}

fn main() -> Result<(), InvalidOption> {
    let device = Device::default().autodiff();

    // Levels of stride 8, 16 and 32 over 64×64 pixels: 64 + 16 + 4 cells, one anchor each.
    let student_full = head_outputs(84, &device);
    let teacher_weak = head_outputs(84, &device).detach();
    // On the half-size view the same levels have 16 + 4 + 1 cells. Its first two have the grids of the
    // last two on the full view: 20 anchors pair, those from 64 on with those up to 20.
    let student_half = head_outputs(21, &device);
    let anchors = |p: &Predictions, from: usize, to: usize| {
        let logits = p.class_logits.clone().slice([0..IMAGES, from..to, 0..CLASSES]);
        Predictions::new(logits, p.box_deltas.clone().slice([0..IMAGES, from..to, 0..4]))
    };

    let views = StageViews::new(
        "head",
        ClassActivation::Sigmoid,
        ViewPair::new(anchors(&student_full, 64, 84), anchors(&student_half, 0, 20)),
        ViewPair::new(student_full.clone(), teacher_weak),
    );

    let objective = Objective::new(ObjectiveConfig::default())?;
    let unsupervised = objective.unsupervised(&[views]);
    let number = |loss: &Tensor<1>| loss.clone().into_scalar::<f32>();
    for loss in &unsupervised {
        println!(
            "scale consistency   class {:.4}  boxes {:.4}",
            number(&loss.scale_class),
            number(&loss.scale_box)
        );
        println!(
            "self-distillation   class {:.4}  boxes {:.4}",
            number(&loss.distill_class),
            number(&loss.distill_box)
        );
    }

    // No labeled images here; with some, their losses are the first argument.
    let total = objective.total(&[], &unsupervised, IMAGES, IMAGES);
    println!("total               {:.4}", number(&total));

    let gradients = total.backward();
    for (name, logits) in [("full", &student_full.class_logits), ("half", &student_half.class_logits)] {
        let gradient = logits.grad(&gradients).map_or(0.0, |g| g.abs().sum().into_scalar::<f32>());
        println!("gradient on the logits of the {name} view: {gradient:.4}");
    }
    Ok(())
}
