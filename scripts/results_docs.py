#!/usr/bin/env python3
"""Writes the tables of finished comparisons into docs/results.md.

    scripts/results_docs.py scenes=runs/comparison cards6=runs/cards …

The table of `FOLDER/results.md`, which the example `compare` leaves, goes between the lines `<!-- table: NAME -->` and
`<!-- end: NAME -->`. What stands around them is written by hand.
"""
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs" / "results.md"


def main() -> int:
    text = DOCS.read_text()
    for argument in sys.argv[1:]:
        name, separator, folder = argument.partition("=")
        if not separator:
            print(f"{argument}: want NAME=FOLDER", file=sys.stderr)
            return 2
        table = (Path(folder) / "results.md").read_text().strip()
        place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end: {re.escape(name)} -->)", re.DOTALL)
        text, found = place.subn(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text)
        if found != 1:
            print(f"{DOCS.name}: {found} places named {name}", file=sys.stderr)
            return 1
    DOCS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
