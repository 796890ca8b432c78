//! Three supervised steps of RetinaNet of ResNet-50 on one image of 512², for the peak memory of a process that does
//! nothing else; prints the most resident memory in MiB, where the system tells it. With the argument `checkpointed`
//! what is cheap is computed again in the backward pass.

mod common;

use burn::{module::Module, tensor::Device};
use common::retinanet::{self, Supervised};
use sed_train::train::checkpointed;

fn main() {
    let mut model = retinanet::resnet50(&Device::flex()).train();
    if std::env::args().any(|argument| argument == "checkpointed") {
        model = checkpointed(model);
    }
    let mut training = Supervised::new(model, 1, 512);
    for _ in 0..3 {
        training.step();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
    match kib {
        Some(kib) => println!("peak_rss_mib {:.0}", kib / 1024.0),
        None => println!("peak_rss_mib unknown"),
    }
}
