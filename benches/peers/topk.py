"""RetinaNet's post-processing of one level, step by step as in torchvision, and a plain top-k; as benches/topk.rs."""

import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, clip_boxes_to_image

from formula import boxes, formula
from harness import case

ANCHORS, CLASSES = 100_000, 80


def logits():
    return formula((ANCHORS, CLASSES), 0, -12.0, -2.8)


@case("topk/1000_of_8m")
@torch.inference_mode()
def postprocess():
    level, deltas, anchors = logits(), torch.zeros(ANCHORS, 4), boxes(ANCHORS)[0]
    coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    @torch.inference_mode()
    def run():
        scores = torch.sigmoid(level).flatten()
        keep = scores > 0.05
        scores, places = scores[keep], torch.where(keep)[0]
        scores, order = scores.topk(min(1000, places.numel()))
        places = places[order]
        rows = torch.div(places, CLASSES, rounding_mode="floor")
        found = clip_boxes_to_image(coder.decode_single(deltas[rows], anchors[rows]), (800, 800))
        return batched_nms(found, scores, places % CLASSES, 0.5)[:100]

    return run


@case("topk_burn/1000_of_8m")
def plain():
    flat = logits().flatten()
    return lambda: flat.topk(1000)
