"""Losses on 100,000 anchors of 80 classes, as benches/losses.rs."""

import torch
from torchvision.ops import sigmoid_focal_loss

from formula import formula
from harness import case
from sed_objective import objective

ANCHORS, CLASSES = 100_000, 80


def logits(view):
    return formula((1, ANCHORS, CLASSES), view * 7_000_003, -8.0, 1.0)


def deltas(view):
    return formula((1, ANCHORS, 4), view * 7_000_003, -1.0, 1.0)


@case("losses/focal_100k_x80_forward", False)
@case("losses/focal_100k_x80", True)
def focal(gradients):
    """With the targets written out in each step, as torchvision's RetinaNet does."""
    z = logits(0)[0].requires_grad_(gradients)
    objects = formula((ANCHORS,), 99) < 0.08
    labels = (formula((ANCHORS,)) * CLASSES).long()[objects]

    def run():
        targets = torch.zeros_like(z)
        targets[objects, labels] = 1.0
        loss = sigmoid_focal_loss(z, targets, reduction="sum")
        if gradients:
            torch.autograd.grad(loss, z)
        else:
            loss.item()

    return run


@case("losses/sed_100k_x80")
def sed():
    student, half, teacher = [(logits(view), deltas(view)) for view in range(3)]
    leaves = [leaf.requires_grad_() for view in (student, half) for leaf in view]
    return lambda: torch.autograd.grad(objective(student, half, teacher), leaves)
