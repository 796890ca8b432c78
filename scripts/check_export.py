"""Loads a file that the example `export` wrote into a detector of torchvision, and compares with the weights it was made from.

    .venv/bin/python scripts/check_export.py retinanet_resnet50_fpn 91 exported.safetensors teacher.safetensors

Needs the packages of scripts/fixtures/requirements.txt. Every parameter and buffer of the detector must be in the file, and the other way round.
"""

import sys

import torch
from safetensors.torch import load_file
from torchvision.models import detection


def main(architecture, classes, exported, original):
    net = getattr(detection, architecture)(weights=None, weights_backbone=None, num_classes=int(classes))
    state = load_file(exported)
    # Counters of training steps, which inference does not use and the file does not hold.
    missing, unexpected = net.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        sys.exit(f"missing {missing}, unexpected {unexpected}")
    before, after = load_file(original), net.state_dict()
    different = [key for key in state if not torch.equal(before[key].float(), after[key])]
    if different:
        sys.exit(f"other values: {different}")
    print(f"{len(state)} tensors, all equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
