"""Detection on one image, as benches/inference.rs."""

import torch

from harness import case
from models import images, resnet50


@case("inference/r50_512")
def detect():
    model = resnet50(512).eval()
    batch = images(1, 512)

    @torch.inference_mode()
    def run():
        return model(batch)

    return run
