#!/usr/bin/env python3
"""Three supervised steps, as benches/memory.rs; prints the most resident memory in MiB."""

import resource
import sys

import torch

from step import supervised_r50


def main():
    torch.manual_seed(0)
    run = supervised_r50(1, 512)
    for _ in range(3):
        run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In KiB, on macOS in bytes.
    print(f"peak_rss_mib {peak / (1 << 20 if sys.platform == 'darwin' else 1 << 10):.0f}")


if __name__ == "__main__":
    main()
