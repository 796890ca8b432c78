"""Whole training steps, as benches/step.rs."""

import copy

import torch

from formula import formula
from harness import case
from models import images, resnet50, targets, tiny
from passes import heads, normalized
from sed_objective import objective

RATE = 1e-7


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-4)


def learn(model, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    assert norm.isfinite(), "a gradient is not finite"
    optimizer.step()


def supervised(model, count, side):
    model.train()
    optimizer = optimizer_of(model)
    batch, objects = images(count, side), targets(count, side)
    return lambda: learn(model, optimizer, sum(model(batch, objects).values()))


@case("step/supervised_r50_512", 1, 512)
@case("curve/area_256", 1, 256)
@case("curve/area_512", 1, 512)
@case("curve/batch_1", 1, 256)
@case("curve/batch_4", 4, 256)
def supervised_r50(count, side):
    return supervised(resnet50(side), count, side)


@case("step/supervised_tiny")
def supervised_tiny():
    return supervised(tiny(6), 4, 128)


@case("step/sed_r50_512")
def sed():
    student = resnet50(512).train()
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = optimizer_of(student)
    labeled, objects = images(1, 512), targets(1, 512)
    weak, strong = (normalized(formula((1, 3, 512, 512), first)) for first in (1, 2))
    # The finest level, of 64² cells, has no partner in the half view, nor has the half view's coarsest in the full one.
    finest, common = 64 * 64 * 9, (32 * 32 + 16 * 16 + 8 * 8 + 4 * 4) * 9

    def run():
        supervised_loss = sum(student(labeled, objects).values())
        full = heads(student, strong)
        half = heads(student, torch.nn.functional.avg_pool2d(strong, 2))
        with torch.no_grad():
            taught = heads(teacher, weak)
        paired = tuple(output[:, finest:] for output in full)
        half = tuple(output[:, :common] for output in half)
        learn(student, optimizer, supervised_loss + objective(full, half, taught, paired))
        with torch.no_grad():
            torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - 0.9996)

    return run
