"""M = F(R, Z)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from tests.support import assert_map

MODES = ["sum", "product", "max"]
UNIT = st.integers(0, 16).map(lambda k: k / 16)


@given(st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=12), st.sampled_from(MODES))
def test_fusion_is_the_oracles(pairs: list[tuple[float, float]], mode: str) -> None:
    for dtype in (torch.float32, torch.float64):
        r, z = torch.tensor(pairs, dtype=dtype).t()[:, None, None]
        ours = LF.fuse(r, z, mode)
        assert_map(ours, ref.fuse(r.numpy(), z.numpy(), mode), double=dtype == torch.float64)
        assert torch.equal(lwm.Fusion(mode)(r, z), ours)


@pytest.mark.parametrize("mode", MODES)
def test_range(mode: str) -> None:
    ends = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    m = LF.fuse(ends[:, 0].reshape(1, 2, 2), ends[:, 1].reshape(1, 2, 2), mode).flatten()
    assert (
        m.tolist()
        == {
            "sum": [0.0, 1.0, 1.0, 2.0],
            "product": [0.0, 0.0, 0.0, 1.0],
            "max": [0.0, 1.0, 1.0, 1.0],
        }[mode]
    )


@pytest.mark.parametrize("mode", MODES)
def test_nan_stays_visible(mode: str) -> None:
    r, z = torch.full((1, 1, 1), math.nan), torch.ones(1, 1, 1)
    assert LF.fuse(r, z, mode).isnan().all()


def test_the_default_is_the_sum() -> None:
    r, z = torch.rand(1, 2, 3), torch.rand(1, 2, 3)
    assert torch.equal(LF.fuse(r, z), r + z)
    assert torch.equal(lwm.Fusion()(r, z), r + z)
