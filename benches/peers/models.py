"""The detectors of the Rust side from torchvision's parts, and images and objects for them."""

import torch
from torch import nn
from torchvision.models import resnet50 as resnet50_body
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from formula import formula


def resnet50_fpn(extra_blocks=True):
    """C3 to C5 and a pyramid; all parameters trained, batch norm frozen."""
    body = resnet50_body(weights=None, norm_layer=FrozenBatchNorm2d)
    extra = LastLevelP6P7(256, 256) if extra_blocks else None
    return _resnet_fpn_extractor(body, 5, returned_layers=[2, 3, 4], extra_blocks=extra)


def resnet50(side):
    """`retinanet_resnet50_fpn` of 91 classes for images of `side`² pixels."""
    return RetinaNet(resnet50_fpn(), 91, min_size=side, max_size=side, detections_per_img=100)


def group_norm(channels):
    return nn.GroupNorm(8, channels)


class TinyBackbone(nn.Module):
    """ResNet-18 at a quarter of its width with group norm, and P2 to P5."""

    out_channels = 32

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), group_norm(16), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        widths = [16, 16, 32, 64, 128]
        self.layers = nn.ModuleList(self.layer(a, b, 1 + (b > 16)) for a, b in zip(widths, widths[1:]))
        self.fpn = FeaturePyramidNetwork(widths[1:], self.out_channels)

    @staticmethod
    def layer(inputs, width, stride):
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), group_norm(width))
        first = BasicBlock(inputs, width, stride, shortcut, norm_layer=group_norm)
        return nn.Sequential(first, BasicBlock(width, width, norm_layer=group_norm))

    def forward(self, x):
        x, maps = self.stem(x), {}
        for index, layer in enumerate(self.layers):
            maps[str(index)] = x = layer(x)
        return self.fpn(maps)


def tiny(classes):
    """The preset `RetinaNetConfig::tiny` for images of 128² pixels."""
    sizes = tuple((8 * 2**level, int(8 * 2 ** (level + 0.5))) for level in range(4))
    anchors = AnchorGenerator(sizes, ((1.0,),) * 4)
    head = RetinaNetHead(32, 2, classes, norm_layer=group_norm)
    for tower in (head.classification_head, head.regression_head):
        tower.conv = tower.conv[:2]
    return RetinaNet(TinyBackbone(), classes, min_size=128, max_size=128, anchor_generator=anchors, head=head)


def images(count, side):
    return list(formula((count, 3, side, side)))


def targets(count, side):
    ends = [(0.12 * k, 0.22 + 0.17 * k) for k in range(5)]
    boxes = torch.tensor([[start, start, end, end] for start, end in ends]) * side
    return [{"boxes": boxes, "labels": torch.arange(5)} for _ in range(count)]
