"""Non-maximum suppression, as benches/nms.rs."""

import numpy
import torch
from torchvision.ops import batched_nms, nms

from formula import boxes, unit
from harness import case


@case("nms/5k", 5_000)
@case("nms/50k", 50_000)
def one_class(count):
    corners, scores = boxes(count)
    return lambda: nms(corners, scores, 0.5)


@case("nms/batched_50k_x80")
def by_class():
    corners, scores = boxes(50_000)
    labels = torch.from_numpy((unit(numpy.arange(50_000)) * 80).astype(numpy.int64))
    return lambda: batched_nms(corners, scores, labels, 0.5)
