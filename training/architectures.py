"""Networks of this field that timm does not have, registered with it under names of their own.

They are here to be compared with; the app loads bundles of timm's own networks only.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import timm
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

_POOL = 0  # in a list of widths: halve the picture here
_VGG19 = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0)
_VGG22 = (64, 64, 0, *[128] * 3, 0, *[256] * 4, 0, *[512] * 5, 0, *[512] * 5, 0)
_VGG24 = (64, 64, 0, *[128] * 3, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0, *[1024] * 4, 0)


class EmotionNet(nn.Module):
    """The plain CNN of the reference code for AI Hub's data set 82, made for 48-px grey faces."""

    def __init__(self, num_classes: int = 7, in_chans: int = 3, drop_rate: float = 0.2) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, 1024
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 64, 5),
            nn.PReLU(),
            nn.ZeroPad2d(2),
            nn.MaxPool2d(5, 2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.PReLU(),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.PReLU(),
            nn.AvgPool2d(3, 2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.PReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.PReLU(),
            nn.AvgPool2d(3, 2, padding=1),
            nn.AdaptiveAvgPool2d(5),  # 5x5 already where the picture has 48 px
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * 25, 1024),
            nn.PReLU(),
            nn.Dropout(drop_rate),
            nn.Linear(1024, 1024),
            nn.PReLU(),
            nn.Dropout(drop_rate),
            nn.Linear(1024, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class FaceVgg(nn.Module):
    """VGG with batch normalisation and one linear layer, for 48-px faces."""

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int = 7,
        in_chans: int = 3,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, max(widths)
        layers: list[nn.Module] = []
        channels = in_chans
        for width in widths:
            if width == _POOL:
                # Rounded up, so that six halvings leave something of 48 px.
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.features(images)))
        return logits


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner = width // 4
        self.body = nn.Sequential(
            *_convolve(channels, inner, 1), nn.ReLU(),
            *_convolve(inner, inner, 3), nn.ReLU(),
            *_convolve(inner, width, 1),
        )  # fmt: skip
        self.shortcut = nn.Sequential(*_convolve(channels, width, 1))

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.body(images) + self.shortcut(images))


class ResEmotionNet(nn.Module):
    """Three bottlenecks at full resolution, as in the reference code for AI Hub's data set 82."""

    def __init__(self, num_classes: int = 7, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, 1024
        self.features = nn.Sequential(
            *_convolve(in_chans, 64, 7), nn.ReLU(),
            _Bottleneck(64, 256), _Bottleneck(256, 512), _Bottleneck(512, 1024),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(images))
        return logits


def build_face_resnet18(in_chans: int = 3, **settings: Any) -> nn.Module:
    """timm's ResNet-18 with a first layer that keeps every pixel, for 48-px faces.

    The stem made for ImageNet halves the picture twice, and leaves 2x2 of it for the last stage.
    """
    network = timm.create_model("resnet18", in_chans=in_chans, **settings)
    first = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    network.conv1, network.maxpool = first, nn.Identity()
    return network


class _Separable(nn.Sequential):
    """A depthwise and a pointwise convolution (Chollet 2017), normalised."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )


class _XceptionModule(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _Separable(channels, width), nn.ReLU(), _Separable(width, width), nn.MaxPool2d(3, 2, 1)
        )
        # Every second pixel, then a convolution: PyTorch 2.14 on CPUs writes past its memory in the
        # backward pass of a strided 1x1 convolution of few channels that lie channels-last.
        self.shortcut = nn.Sequential(nn.MaxPool2d(1, 2), *_convolve(channels, width, 1))

    def forward(self, images: Tensor) -> Tensor:
        summed: Tensor = self.body(images) + self.shortcut(images)
        return summed


class MiniXception(nn.Module):
    """Arriaga et al. 2017, "Real-time Convolutional Neural Networks for Emotion and Gender
    Classification": the network inside the package fer."""

    def __init__(self, num_classes: int = 7, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, 128
        self.stem = nn.Sequential(
            *_convolve(in_chans, 8, 3, padding=0), nn.ReLU(),
            *_convolve(8, 8, 3, padding=0), nn.ReLU(),
        )  # fmt: skip
        widths = (8, 16, 32, 64, 128)
        self.modules_ = nn.Sequential(*(_XceptionModule(*pair) for pair in pairwise(widths)))
        self.head = nn.Sequential(
            nn.Conv2d(128, num_classes, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.modules_(self.stem(images)))
        return logits


def _convolve(
    channels: int, width: int, side: int, *, padding: int | None = None
) -> tuple[nn.Module, nn.Module]:
    pad = side // 2 if padding is None else padding
    convolution = nn.Conv2d(channels, width, side, padding=pad, bias=False)
    return convolution, nn.BatchNorm2d(width)


# timm looks for this name in the module of every network that it registers.
default_cfgs = generate_default_cfgs(
    {
        name: {"input_size": (3, 48, 48), "num_classes": 7, "classifier": classifier}
        for name, classifier in (
            ("emotionnet", "head.7"),
            ("resemotionnet", "fc"),
            ("face_resnet18", "fc"),
            ("face_vgg19", "fc"),
            ("face_vgg22_wide", "fc"),
            ("face_vgg24_deep_wide", "fc"),
            ("mini_xception", "head.0"),
        )
    }
)


@register_model
def emotionnet(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(EmotionNet, "emotionnet", pretrained, settings)


@register_model
def resemotionnet(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(ResEmotionNet, "resemotionnet", pretrained, settings)


@register_model
def face_resnet18(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(build_face_resnet18, "face_resnet18", pretrained, settings)


@register_model
def face_vgg19(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(FaceVgg, "face_vgg19", pretrained, {**settings, "widths": _VGG19})


@register_model
def face_vgg22_wide(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(FaceVgg, "face_vgg22_wide", pretrained, {**settings, "widths": _VGG22})


@register_model
def face_vgg24_deep_wide(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(FaceVgg, "face_vgg24_deep_wide", pretrained, {**settings, "widths": _VGG24})


@register_model
def mini_xception(pretrained: bool = False, **settings: Any) -> nn.Module:
    return _build(MiniXception, "mini_xception", pretrained, settings)


def _build(
    network: Callable[..., nn.Module], name: str, pretrained: bool, settings: dict[str, Any]
) -> nn.Module:
    built: nn.Module = build_model_with_cfg(network, name, pretrained, **settings)
    return built
