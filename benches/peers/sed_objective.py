"""The unsupervised objective of one stage with a sigmoid head at its defaults, in plain PyTorch.

The values are those of `Objective::unsupervised`; tests compare that one with such a formula.
"""

import torch
import torch.nn.functional as F

EPSILON = 1e-3


def kl(target, logits):
    """KL(sg(p) ‖ q) of each class by logits; the part of p alone, which has no gradient, is in the value."""
    target = target.detach()
    p = target.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, p, reduction="none")
    entropy = F.binary_cross_entropy_with_logits(target, p, reduction="none")
    return cross_entropy - entropy


def distance(a, b):
    return ((a - b).square().sum(-1) + EPSILON**2).sqrt() - EPSILON


def reduce(classes, boxes, a, b, normalizer):
    weight = (a.detach().sigmoid() - b.detach().sigmoid()).abs().amax(-1)
    return (weight * (classes.sum(-1) + 0.5 * boxes)).sum() / normalizer


def objective(student, half, teacher, scale_student=None):
    """Each view is a pair of class logits and box deltas; `scale_student` are the student's anchors that the half

    view has too, all of them when absent.
    """
    full = scale_student or student
    normalizer = teacher[0].amax(-1).sigmoid().sum().clamp(min=1.0)
    classes = kl(full[0], half[0]) + kl(half[0], full[0])
    scale = reduce(classes, distance(full[1], half[1]), full[0], half[0], normalizer)
    classes = kl(teacher[0], student[0])
    distill = reduce(classes, distance(student[1], teacher[1].detach()), student[0], teacher[0], normalizer)
    return scale + distill
