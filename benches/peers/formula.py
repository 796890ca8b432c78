"""Numbers by the formula that the Rust side uses too (benches/common/mod.rs)."""

import os
import tempfile
from pathlib import Path

import numpy
import torch


def unit(indices):
    """A number in [0, 1) for each index."""
    h = numpy.asarray(indices, dtype=numpy.uint32) * numpy.uint32(0x9E3779B1)
    h = (h ^ (h >> 15)) * numpy.uint32(0x85EBCA77)
    h = (h ^ (h >> 13)) * numpy.uint32(0xC2B2AE3D)
    return ((h ^ (h >> 16)) >> 8).astype(numpy.float32) / numpy.float32(1 << 24)


def formula(shape, first=0, low=0.0, high=1.0):
    count = numpy.prod(shape)
    values = unit(numpy.arange(first, first + count, dtype=numpy.uint64).astype(numpy.uint32))
    return torch.from_numpy(low + (high - low) * values).reshape(shape).float()


def boxes(count, objects=200):
    """Boxes and scores, as benches/common/boxes.rs."""
    base = formula((objects, 8))[torch.arange(count) % objects]
    own = formula((count, 8), objects * 8)
    off = 0.4 * (own[:, :4] - 0.5)
    sides = 20 + 180 * base[:, 2:4]
    corner = 1000 * base[:, :2] + sides * off[:, :2]
    return torch.cat([corner, corner + sides * (1 + off[:, 2:])], 1), own[:, 4].contiguous()


def data_folder():
    return Path(os.environ.get("BENCH_DATA") or Path(tempfile.gettempdir()) / "sed-bench-data")
