#!/usr/bin/env python3
"""Times cases on the PyTorch side: run.py [--only REGEX] [--list]; a line of JSON each.

Files that both sides read lie in the folder of the variable BENCH_DATA, where the Rust side has written them.
"""

import argparse
import os
import re

import torch

import coco_map, conv, group_norm, inference, loader, losses, nms, passes, roi_align, step, topk, update  # noqa: E401, F401
from harness import CASES, measure


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    for name in CASES:
        if re.search(arguments.only, name):
            print(name) if arguments.list else measure(name)


if __name__ == "__main__":
    main()
