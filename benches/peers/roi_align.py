"""RoIAlign, as benches/roi_align.rs."""

import torch
from torchvision.ops import roi_align

from harness import case


def region(k):
    w, h = (32.0 + k * step % 193 for step in (37, 53))
    x, y = (k * step % 512 / 512.0 * (512.0 - side) for step, side in ((71, w), (149, h)))
    return [0, x, y, x + w, y + h]


@case("roi_align/512_boxes_forward", False)
@case("roi_align/512_boxes", True)
def prepare(gradients):
    features = torch.randn(1, 256, 128, 128, requires_grad=gradients)
    regions = torch.tensor([region(k) for k in range(512)])

    def run():
        output = roi_align(features, regions, 7, 0.25, 2, False)
        if gradients:
            torch.autograd.grad(output.sum(), features)

    return run
