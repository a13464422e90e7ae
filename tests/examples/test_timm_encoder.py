"""Encoders of timm: through a stand-in of its interface, and the real ones where timm is installed."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from examples.rgbd.networks import build_network
from examples.rgbd.networks.build import build_encoder, family_of


class FourMaps(nn.Module):
    """What `timm.create_model(..., features_only=True)` gives."""

    def __init__(self) -> None:
        super().__init__()
        channels = (4, 8, 12, 16)
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 4 if a == 3 else 2, 1), nn.BatchNorm2d(b))
            for a, b in zip((3, *channels), channels, strict=False)
        )
        self.feature_info = SimpleNamespace(
            channels=lambda: list(channels), reduction=lambda: [4, 8, 16, 32]
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [image]
        for step in self.steps:
            maps.append(step(maps[-1]))
        return maps[1:]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a stand-in of timm was asked for."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append({"name": name, **options})
        if name == "unknown":
            raise RuntimeError("Unknown model (unknown)")
        return FourMaps()

    stand_in = ModuleType("timm")
    stand_in.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    return calls


def test_a_network_of_timm_is_an_encoder(asked: list[dict[str, Any]]) -> None:
    network = build_network("light_refinenet", "timm/any_net", num_classes=5, width=8)
    assert asked == [
        {
            "name": "any_net",
            "features_only": True,
            "out_indices": (-4, -3, -2, -1),
            "pretrained": False,
        }
    ]
    assert network(torch.zeros(2, 3, 64, 64)).logits.shape[:2] == (2, 5)
    assert family_of("timm/any_net") == "timm"


def test_weights_and_norms_of_a_network_of_timm(asked: list[dict[str, Any]]) -> None:
    build_encoder("timm/any_net", pretrained="timm")
    build_encoder("timm/any_net", pretrained="weights.safetensors")
    assert [call["pretrained"] for call in asked] == [True, True]
    assert asked[1]["pretrained_cfg_overlay"] == {"file": "weights.safetensors"}
    frozen = build_encoder("timm/any_net", freeze_norm=True).train()
    assert not any(m.training for m in frozen.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("timm/unknown", {}, "Unknown model"),
        ("timm/any_net", {"fold_norm": True}, "fold_norm"),
        ("timm/any_net", {"output_stride": 8}, "output_stride"),
    ],
)
def test_what_timm_cannot_give_is_said(
    asked: list[dict[str, Any]], name: str, options: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValueError, match=rf"Expected .*{part}"):
        build_encoder(name, **options)


def test_a_network_that_is_bound_to_a_family_refuses_timm() -> None:
    with pytest.raises(ValueError, match="vgg16"):
        build_network("fcn", "timm/any_net", num_classes=5)


def test_without_timm_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="pip install timm"):
        build_encoder("timm/resnet18")


def test_a_real_network_of_timm() -> None:
    try:
        importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs timm and a torchvision that fits torch ({error})")
    network = build_network("light_refinenet", "timm/resnet18", num_classes=5, width=8)
    assert network(torch.zeros(2, 3, 64, 64)).logits.shape[:2] == (2, 5)
