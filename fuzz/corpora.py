#!/usr/bin/env python3
"""Writes a small corpus of good files for each fuzz target, below fuzz/corpus.

    python3 fuzz/corpora.py
    cargo +nightly fuzz run coco -- -max_total_time=1200
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

fuzz = Path(__file__).resolve().parent
root = fuzz.parent


def corpus(target):
    folder = fuzz / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    return folder


annotations = fuzz / "seeds" / "annotations.json"
shutil.copy(annotations, corpus("coco"))
shutil.copy(fuzz / "seeds" / "a.xml", corpus("voc"))
manifest = {
    "version": 1,
    "percent": 50.0,
    "fold": 0,
    "annotations_sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
    "labeled": [1],
    "unlabeled": [2],
}
(corpus("split") / "split.json").write_text(json.dumps(manifest))
(corpus("config") / "train.toml").write_text("iterations = 10\nburn_in = 2\n[teacher]\ndecay = 0.99\n")
(corpus("config") / "data.toml").write_text("mode = 'skip'\nmax_skipped = '1%'\n")
for path in (root / "crates/sed-train/tests/fixtures/images").iterdir():
    shutil.copy(path, corpus("image"))
# Long names make each format write headers of its own before the member.
for name, layout in [("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)]:
    with tarfile.open(corpus("shard") / f"{name}.tar", "w", format=layout) as shard:
        for member in ["0001.png", "0001.txt", f"{'folder/' * 18}0002.jpg"]:
            shard.add(root / "crates/sed-train/tests/fixtures/images/palette.png", member)
for path in (root / "crates/sed-models/tests/fixtures").glob("conv*.pth"):
    shutil.copy(path, corpus("pytorch"))
header = json.dumps(
    {
        "weight": {"dtype": "F32", "shape": [2, 2, 1, 1], "data_offsets": [0, 16]},
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
).encode()
(corpus("safetensors") / "conv.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
manifest = """version = 1
[progress]
iteration = 1
skipped_steps = 0
silent_steps = 0
seconds = 1.5
evaluations = []
[progress.row]
loss = 0.5
[identity]
seed = 1
"""
for name in ["student.bpk", "teacher.bpk", "optimizer.bpk"]:
    manifest += f'[files."{name}"]\nbytes = 24\nsha256 = "{hashlib.sha256(bytes(24)).hexdigest()}"\n'
(corpus("checkpoint") / "manifest.toml").write_text(manifest)
