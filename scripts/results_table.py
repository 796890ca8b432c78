#!/usr/bin/env python3
"""Prints a Markdown table of finished runs, one row a folder, from their results.json.

    scripts/results_table.py runs/a runs/b …

The last row is the mean, with the sample standard deviation, of AP over the folders.
"""
import json
import statistics
import sys
from pathlib import Path

RUNS = ["supervised", "supervised, EMA", "sed, student", "sed, teacher"]


def main() -> None:
    print("| run folder | " + " | ".join(f"{run}: AP / AP50" for run in RUNS) + " |")
    print("|---|" + "---:|" * len(RUNS))
    columns = {run: [] for run in RUNS}
    for folder in map(Path, sys.argv[1:]):
        rows = {row["run"]: row for row in json.loads((folder / "results.json").read_text())}
        cells = []
        for run in RUNS:
            columns[run].append(rows[run]["AP"])
            cells.append(f"{rows[run]['AP']:.1f} / {rows[run]['AP50']:.1f}")
        print(f"| {folder.name} | " + " | ".join(cells) + " |")
    if len(sys.argv) > 2:
        mean = [f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f}" for v in columns.values()]
        print("| mean AP | " + " | ".join(mean) + " |")


if __name__ == "__main__":
    main()
