"""The cases of the PyTorch side by name, and how one is timed."""

import json
import statistics
import time

SAMPLES = 10
# Where a run takes seconds, fewer samples do.
LEAST_SAMPLES, MOST_SECONDS = 3, 15
# A sample repeats a short operation until it lasts this long, in seconds.
SAMPLE_SECONDS = 0.1
WARM_UP_SECONDS = 0.5

CASES = {}


def case(name, *arguments):
    """Registers a function that prepares a case and returns what is timed."""

    def register(prepare):
        CASES[name] = lambda: prepare(*arguments)
        return prepare

    return register


def timed(run, count):
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def measure(name):
    """Prints the median milliseconds of a case as a line of JSON."""
    run = CASES[name]()
    spent, once = 0.0, 0.0
    while spent < WARM_UP_SECONDS:
        once = timed(run, 1)
        spent += once
    count = max(1, round(SAMPLE_SECONDS / once))
    samples, end = [], time.perf_counter() + MOST_SECONDS
    while len(samples) < SAMPLES and (len(samples) < LEAST_SAMPLES or time.perf_counter() < end):
        samples.append(timed(run, count) * 1e3)
    print(json.dumps({"id": name, "median_ms": statistics.median(samples)}), flush=True)
