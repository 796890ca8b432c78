"""Bare passes of RetinaNet, as benches/passes.rs."""

import torch

from formula import formula
from harness import case
from models import resnet50


def normalized(pixels):
    mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (pixels - mean) / deviation


def heads(model, pixels):
    """Class logits and box deltas of all levels."""
    outputs = model.head(list(model.backbone(pixels).values()))
    return outputs["cls_logits"], outputs["bbox_regression"]


@case("passes/labeled", 512)
@case("passes/strong", 512)
@case("passes/half", 256)
def student(side):
    model = resnet50(side).train()
    pixels = formula((1, 3, side, side))

    def run():
        model.zero_grad()
        sum(output.sum() for output in heads(model, normalized(pixels))).backward()

    return run


@case("passes/teacher")
def teacher():
    model = resnet50(512)
    pixels = formula((1, 3, 512, 512))

    @torch.inference_mode()
    def run():
        return sum(output.sum() for output in heads(model, normalized(pixels)))

    return run
