"""Group normalisation and ReLU, as benches/group_norm.rs."""

import torch
import torch.nn.functional as F

from harness import case


def prepare(shape, gradients):
    leaves = [torch.randn(shape), torch.randn(shape[1]), torch.randn(shape[1])]
    for leaf in leaves:
        leaf.requires_grad_(gradients)

    def run():
        output = F.relu(F.group_norm(leaves[0], 8, leaves[1], leaves[2], 1e-5), inplace=True)
        if gradients:
            torch.autograd.grad(output.sum(), leaves)

    return run


for images, channels, side in [(8, 16, 64), (8, 64, 32), (8, 128, 4), (1, 64, 128)]:
    name = f"group_norm/{channels}_{side}_n{images}"
    shape = (images, channels, side, side)
    case(f"{name}_forward", shape, False)(prepare)
    case(name, shape, True)(prepare)
