#!/usr/bin/env python3
"""Compares the TensorBoard events of a folder with its metrics.jsonl, as TensorBoard reads them.

    pip install tensorboard
    scripts/check_tensorboard.py RUN_FOLDER/sed

Exits with 1 at the first difference. Values that are not finite are null in the JSON lines.
"""
import json
import math
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.util import tensor_util


def single(value):
    """The number in single precision, as events hold it."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def same(expected, found):
    return not math.isfinite(found) if expected is None else single(expected) == found


def logged(path):
    """`{tag: {step: value}}` of the JSON lines; a later line of the same step replaces an earlier one."""
    tags = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        step = row.pop("iteration")
        for tag, value in row.items():
            tags.setdefault(tag, {})[step] = value
    return tags


def main():
    folder = Path(sys.argv[1])
    # 0: keep all of each kind, not a sample.
    size = {"scalars": 0, "images": 0, "tensors": 0}
    events = event_accumulator.EventAccumulator(str(folder), size_guidance=size).Reload()
    # What `tensorboard --load_fast=false` reads with.
    plugins = plugin_event_accumulator.EventAccumulator(str(folder), size_guidance=size).Reload()
    expected = logged(folder / "metrics.jsonl")
    tags = events.Tags()
    if set(tags["scalars"]) != set(expected):
        sys.exit(f"tags differ: {sorted(set(tags['scalars']) ^ set(expected))}")
    for tag, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        tensors = [(event.step, tensor_util.make_ndarray(event.tensor_proto).item()) for event in plugins.Tensors(tag)]
        if str(tensors) != str(found):
            sys.exit(f"{tag}: the two readers differ, {found} and {tensors}")
        if [step for step, _ in found] != sorted(values):
            sys.exit(f"{tag}: steps {[step for step, _ in found]} instead of {sorted(values)}")
        for step, value in found:
            if not same(values[step], value):
                sys.exit(f"{tag}, step {step}: {value} instead of {values[step]}")
    images = sum(len(events.Images(tag)) for tag in tags["images"])
    scalars = sum(map(len, expected.values()))
    print(f"{scalars} scalars of {len(expected)} tags agree, {images} picture{'' if images == 1 else 's'}")


if __name__ == "__main__":
    main()
