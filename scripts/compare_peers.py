#!/usr/bin/env python3
"""Times this project beside PyTorch and prints a Markdown table.

    scripts/compare_peers.py --python peer-venv/bin/python [--rounds 3] [--only REGEX]
    scripts/compare_peers.py --python peer-venv/bin/python --memory

The interpreter needs what benches/peers/requirements.txt lists. The benchmarks are built once; then, for each
case, both sides run in turns, a process each. Milliseconds are medians over the rounds of each run's median, the
ratio is the median of the rounds' ratios with their range. Groups that end in `_burn` are Burn's own operation.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benches" / "peers"
BURN = "_burn/"
# Numbers of two cases whose ratio is of interest: what it is, numerator, denominators to be added up.
DERIVED = [
    ("SED step / sum of its passes", "step/sed_r50_512", ["passes/labeled", "passes/strong", "passes/half", "passes/teacher"]),
    ("four times the area", "curve/area_512", ["curve/area_256"]),
    ("four times the images", "curve/batch_4", ["curve/batch_1"]),
]
PHOTOS = ("loader/photos", 64)


def build():
    """The executables of the benchmarks, by name."""
    command = ["cargo", "bench", "--workspace", "--bench", "*", "--no-run", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    messages = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    artifacts = (m for m in messages if m["reason"] == "compiler-artifact" and m["executable"])
    return {a["target"]["name"]: a["executable"] for a in artifacts if a["target"]["kind"] == ["bench"]}


class Ours:
    """The Rust side, by Criterion."""

    def __init__(self, folder, environment):
        self.home = folder / "criterion"
        self.environment = environment | {"CRITERION_HOME": str(self.home)}
        self.binaries = build()
        self.memory = self.binaries.pop("memory")
        del self.binaries["dataset"]
        self.cases = {case: name for name in sorted(self.binaries) for case in self.list(name)}

    def list(self, name):
        output = subprocess.run([self.binaries[name], "--bench", "--list"], stdout=subprocess.PIPE, check=True, text=True)
        return [line.removesuffix(": bench") for line in output.stdout.splitlines() if line.endswith(": bench")]

    def run(self, case):
        command = [self.binaries[self.cases[case]], "--bench", "--noplot", f"^{re.escape(case)}$"]
        subprocess.run(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        estimates = json.loads((self.home / case / "new" / "estimates.json").read_text())
        return estimates["median"]["point_estimate"] / 1e6


class Peer:
    """The PyTorch side."""

    def __init__(self, python, environment):
        self.python, self.environment = python, environment
        self.cases = set(self.call("run.py", "--list").split())

    def call(self, *arguments):
        command = [self.python, *arguments]
        return subprocess.run(
            command, cwd=PEERS, env=self.environment, stdout=subprocess.PIPE, check=True, text=True
        ).stdout

    def run(self, case):
        return json.loads(self.call("run.py", "--only", f"^{re.escape(case)}$"))["median_ms"]


def machine(python):
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
        model = names[0] if names else model
    script = "import torch, torchvision; print(f'PyTorch {torch.__version__}, torchvision {torchvision.__version__}')"
    peer = subprocess.run([python, "-c", script], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    rust = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    return f"{model}, {os.cpu_count()} cores; {rust}; {peer}"


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def spread(ratios):
    """Median and range."""
    low, high = min(ratios), max(ratios)
    return f"{statistics.median(ratios):.2f} ({low:.2f}–{high:.2f})"


def table(rows, header):
    print("| " + " | ".join(header) + " |")
    print("|---|" + "---:|" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def of_rounds(rounds, numerator, denominators):
    """The ratio in each round; none where a case did not run."""
    if any(case not in rounds for case in [numerator, *denominators]):
        return []
    return [value / sum(rounds[d][i] for d in denominators) for i, value in enumerate(rounds[numerator])]


def report(ours, peer, rounds):
    rows = []
    for case, values in ours.items():
        theirs = peer.get(case, [])
        if not theirs and BURN in case:
            continue
        ratios = of_rounds({"own": values, "peer": theirs}, "own", ["peer"]) if theirs else []
        cells = [number(statistics.median(column)) if column else "–" for column in (values, theirs)]
        rows.append([f"`{case}`", *cells, spread(ratios) if ratios else "–"])
    print(f"Medians of {rounds} round{'s' if rounds > 1 else ''}.\n")
    table(rows, ["case", "ours, ms", "PyTorch, ms", "ratio ours / PyTorch"])

    rows = []
    for case in ours:
        burns = case.replace("/", BURN, 1)
        if ratios := of_rounds(ours, case, [burns]):
            rows.append([f"`{case}`", number(statistics.median(ours[burns])), spread(ratios)])
    if rows:
        table(rows, ["case", "Burn's own, ms", "ratio ours / Burn's"])

    rows = []
    for what, numerator, denominators in DERIVED:
        sides = [of_rounds(side, numerator, denominators) for side in (ours, peer)]
        if any(sides):
            rows.append([what, *(spread(ratios) if ratios else "–" for ratios in sides)])
    if rows:
        table(rows, ["ratio", "ours", "PyTorch"])
    case, photos = PHOTOS
    if case in ours:
        rates = [f"{photos * 1e3 / statistics.median(side[case]):.0f}" for side in (ours, peer) if case in side]
        print(f"Photos a second: {' (ours), '.join(rates)} (PyTorch)\n")


def compare(arguments, environment, folder):
    ours, peer = Ours(folder, environment), Peer(arguments.python, environment)
    if arguments.memory:
        def own(*options):
            command = [ours.memory, "--bench", *options]
            return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()[1]

        rows = [["ours", own()], ["ours, checkpointed", own("checkpointed")]]
        rows.append(["PyTorch", peer.call("memory.py").split()[1]])
        table(rows, ["three supervised steps, RetinaNet-R50, 1 × 512²", "peak resident memory, MiB"])
        return
    chosen = [case for case in ours.cases if re.search(arguments.only, case)]
    own_times, peer_times = {}, {}
    for case in chosen:
        for round in range(arguments.rounds):
            own_times.setdefault(case, []).append(ours.run(case))
            if case in peer.cases:
                peer_times.setdefault(case, []).append(peer.run(case))
            last = " / ".join(number(side[case][-1]) for side in (own_times, peer_times) if case in side)
            print(f"{case}, round {round + 1}: {last} ms", file=sys.stderr)
    report(own_times, peer_times, arguments.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the interpreter of the PyTorch side")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each case (default 3)")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases by name, as '^conv/'")
    parser.add_argument("--memory", action="store_true", help="peak memory of training instead of times")
    arguments = parser.parse_args()
    # Relative to here, not to where the peer runs; a link to an interpreter must stay one.
    arguments.python = os.path.abspath(arguments.python)
    print(machine(arguments.python) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        compare(arguments, os.environ | {"BENCH_DATA": str(data)}, Path(folder))


if __name__ == "__main__":
    main()
