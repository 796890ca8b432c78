"""Batches from photos by two worker processes, as benches/loader.rs: the same photos and augmentation, by Pillow

and torchvision's transforms on tensors.
"""

import math
import random

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from formula import data_folder
from harness import case

SIDE, PHOTOS = 512, 64
ERASE = [(0.7, (0.05, 0.2), (0.3, 3.3)), (0.5, (0.02, 0.2), (0.1, 6.0)), (0.3, (0.02, 0.2), (0.05, 8.0))]


def strong():
    return v2.Compose(
        [
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            # 17 taps hold four deviations of the widest blur.
            v2.RandomApply([v2.GaussianBlur(17, (0.1, 2.0))], 0.5),
            *(v2.RandomErasing(p, area, aspect, value="random") for p, area, aspect in ERASE),
        ]
    )


def pad(view):
    """At the right and the bottom, to the batch's size."""
    return F.pad(view, (0, SIDE - view.shape[2], 0, SIDE - view.shape[1]))


class Photos(Dataset):
    def __init__(self):
        self.paths = sorted((data_folder() / "photos").glob("*.jpg"))
        self.strong = strong()

    def __len__(self):
        return PHOTOS

    def weak(self, index):
        with Image.open(self.paths[index % len(self.paths)]) as photo:
            photo = photo.convert("RGB")
        scale = SIDE / max(photo.size) * random.uniform(0.75, 1.25)
        width, height = (round(side * scale) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        left, top = random.randint(0, max(0, width - SIDE)), random.randint(0, max(0, height - SIDE))
        photo = photo.crop((left, top, min(width, left + SIDE), min(height, top + SIDE)))
        if random.random() < 0.5:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return v2.functional.to_dtype(v2.functional.pil_to_tensor(photo), scale=True)

    def __getitem__(self, index):
        weak = self.weak(index)
        if index % 8 == 0:
            return (pad(self.strong(weak) if random.random() < 0.5 else weak),)
        return pad(weak), pad(self.strong(weak))


def collate(items):
    unlabeled = [torch.stack(view) for view in zip(*(item for item in items if len(item) == 2))]
    return [item[0] for item in items if len(item) == 1], *unlabeled


@case("loader/photos")
def photos():
    # One thread a worker, as DataLoader sets it.
    loader = DataLoader(Photos(), batch_size=8, num_workers=2, persistent_workers=True, collate_fn=collate)

    def run():
        seen = 0
        for labeled, weak, strong_view in loader:
            F.avg_pool2d(strong_view, 2)
            seen += len(labeled) + len(weak)
        assert seen == PHOTOS and math.isfinite(weak.sum())

    return run
