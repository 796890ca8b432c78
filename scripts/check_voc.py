#!/usr/bin/env python3
"""Compares the VOC numbers of the example `evaluate` with those of the package mean_average_precision, on random boxes.

    pip install mean_average_precision
    cargo build --release --workspace --example evaluate
    scripts/check_voc.py target/release/examples/evaluate [CASES]

Exits with 1 if the AP of a class differs by more than 1e-6; the package keeps its own in single precision.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from mean_average_precision.mean_average_precision_2d import MeanAveragePrecision2d

# A little less than tenths: in floating point 3 · 0.1 is above 3 / 10, and a recall of exactly three tenths would be lost.
RECALLS = {"voc2007": np.arange(11) / 10 - 1e-9, "voc2012": None}


def random_case(seed):
    """Annotations and detections: a shifted box for most objects, some twice, and some boxes of nothing.

    No IoU is one half: there the package says no and VOC's development kit yes. No object is marked as difficult: the
    package mixes up the marks of images with several objects.
    """
    random = np.random.default_rng(seed)
    classes, images = int(random.integers(1, 6)), int(random.integers(1, 30))
    truth, found = [], []
    for image in range(1, images + 1):
        for _ in range(random.integers(0, 7)):
            box = random.uniform([0, 0, 4, 4], [60, 60, 40, 40])
            category = int(random.integers(1, classes + 1))
            truth.append({"id": len(truth) + 1, "image_id": image, "category_id": category, "bbox": box.tolist(),
                          "area": float(box[2] * box[3]), "iscrowd": 0})
            for _ in range(random.integers(0, 3)):
                moved = box + random.uniform(-6, 6, 4)
                moved[2:] = np.maximum(moved[2:], 1)
                found.append((image, category, moved))
        for _ in range(random.integers(0, 3)):
            box = random.uniform([0, 0, 4, 4], [60, 60, 40, 40])
            found.append((image, int(random.integers(1, classes + 1)), box))
    # The package does not keep the order of equal scores.
    scores = random.permutation(len(found)) / max(len(found), 1)
    found = [{"image_id": image, "category_id": category, "bbox": box.tolist(), "score": float(score)}
             for (image, category, box), score in zip(found, scores)]
    dataset = {
        "images": [{"id": image, "width": 128, "height": 128, "file_name": f"{image}.png"}
                   for image in range(1, images + 1)],
        "categories": [{"id": category, "name": f"class {category}"} for category in range(1, classes + 1)],
        "annotations": truth,
    }
    return dataset, found


def corners(box):
    """Both corners as whole pixels, as the package counts them."""
    x, y, width, height = box
    return [x, y, x + width - 1, y + height - 1]


def expected(dataset, found, recalls):
    """The AP of each class with an object."""
    classes = len(dataset["categories"])
    metric = MeanAveragePrecision2d(classes)
    for image in dataset["images"]:
        of_image = lambda rows: [row for row in rows if row["image_id"] == image["id"]]
        truth = [corners(row["bbox"]) + [row["category_id"] - 1, 0, 0]
                 for row in of_image(dataset["annotations"])]
        boxes = [corners(row["bbox"]) + [row["category_id"] - 1, row["score"]] for row in of_image(found)]
        metric.add(np.array(boxes, float).reshape(-1, 6), np.array(truth, float).reshape(-1, 7))
    values = metric.value(iou_thresholds=0.5, recall_thresholds=recalls)[0.5]
    there = metric.class_counter.sum(axis=0)
    return {f"class {c + 1}": float(values[c]["ap"]) if there[c] else None for c in range(classes)}


def main():
    evaluate, cases = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50
    compared, largest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for seed in range(cases):
            dataset, found = random_case(seed)
            (folder / "truth.json").write_text(json.dumps(dataset))
            (folder / "found.json").write_text(json.dumps(found))
            for name, recalls in RECALLS.items():
                subprocess.run(
                    [evaluate, "--annotations", folder / "truth.json", "--detections", folder / "found.json",
                     "--metric", name, "--json", folder / "out.json"],
                    check=True, stdout=subprocess.DEVNULL)
                ours = json.loads((folder / "out.json").read_text())["per_class"]
                theirs = expected(dataset, found, recalls)
                for label, value in theirs.items():
                    if (value is None) != (ours[label] is None) or abs((value or 0) - (ours[label] or 0)) > 1e-6:
                        sys.exit(f"case {seed}, {name}, {label}: {ours[label]}, the package {value}")
                    compared += value is not None
                    largest = max(largest, abs((value or 0) - (ours[label] or 0)))
    print(f"{compared} AP of {cases} cases agree; the largest difference is {largest:.1e}")


if __name__ == "__main__":
    main()
