"""Convolutions, as benches/conv.rs."""

import torch
import torch.nn.functional as F

from harness import case

LAYERS = [
    (1, 3, 64, 7, 2, 512),
    (1, 64, 64, 3, 1, 128),
    (1, 64, 256, 1, 1, 128),
    (1, 256, 256, 3, 1, 64),
    (1, 256, 512, 1, 2, 64),
    (1, 512, 1024, 1, 2, 64),
    (1, 512, 512, 3, 1, 16),
    (8, 3, 16, 7, 2, 128),
    (8, 16, 16, 3, 1, 64),
    (8, 16, 64, 1, 1, 64),
    (8, 64, 64, 3, 1, 32),
    (8, 32, 64, 3, 2, 32),
    (8, 128, 128, 3, 1, 4),
    (8, 48, 6, 3, 1, 16),
]


def prepare(layer, gradients):
    images, inputs, outputs, kernel, stride, side = layer
    leaves = [torch.randn(images, inputs, side, side), torch.randn(outputs, inputs, kernel, kernel), torch.randn(outputs)]
    for leaf in leaves:
        leaf.requires_grad_(gradients)

    def run():
        output = F.conv2d(*leaves, stride=stride, padding=kernel // 2)
        if gradients:
            torch.autograd.grad(output.sum(), leaves)

    return run


for layer in LAYERS:
    n, i, o, k, s, side = layer
    name = f"conv/{i}_{o}_k{k}_s{s}_{side}_n{n}"
    case(f"{name}_forward", layer, False)(prepare)
    case(name, layer, True)(prepare)
