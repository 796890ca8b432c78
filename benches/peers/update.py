"""Moving average and optimizers, as benches/update.rs."""

import torch

from harness import case
from models import resnet50, resnet50_fpn


@case("update/ema_26m")
def average():
    students = [p.detach() for p in resnet50_fpn(extra_blocks=False).parameters()]
    teachers = [p.clone() for p in students]
    return lambda: torch._foreach_lerp_(teachers, students, 1 - 0.9996)


@case("update/sgd_34m", torch.optim.SGD, {"momentum": 0.9})
@case("update/adamw_34m", torch.optim.AdamW, {})
def optimizer(kind, options):
    parameters = list(resnet50(512).parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) * 1e-3
    return kind(parameters, lr=1e-7, weight_decay=1e-4, foreach=True, **options).step
