"""The threshold of Eq. 8, the filter and the schedule that a checkpoint must carry."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch._dynamo
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.curriculum import median_and_maximum, median_by_digits
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import masks, sizes


@st.composite
def weight_maps(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """A map of multiples of 1/64, full of ties, and a mask."""
    shape = (draw(st.integers(1, 3)), *draw(sizes()))
    count = int(np.prod(shape))
    top = draw(st.sampled_from([1, 4, 128]))
    values = draw(st.lists(st.integers(0, top), min_size=count, max_size=count))
    weight = torch.tensor(values, dtype=torch.float64).reshape(shape) / 64
    mask = draw(masks(shape) | st.just(torch.zeros(shape, dtype=torch.bool)))
    return weight, mask


PROGRESS = st.integers(0, 8).map(lambda k: k / 8)


@given(weight_maps(), PROGRESS, st.booleans())
def test_threshold_is_the_oracles(
    drawn: tuple[Tensor, Tensor], progress: float, masked: bool
) -> None:
    weight, mask = drawn
    truth = ref.curriculum_threshold(weight.numpy(), progress, mask.numpy() if masked else None)
    for dtype in (torch.float64, torch.float32):
        ours = LF.curriculum_threshold(weight.to(dtype), progress, mask=mask if masked else None)
        assert ours.shape == (weight.shape[0],)
        # Multiples of 1/512 are exact in both.
        np.testing.assert_allclose(ours.numpy(), truth, rtol=0, atol=0)
    as_tensor = LF.curriculum_threshold(
        weight, torch.tensor(progress, dtype=torch.float64), mask=mask if masked else None
    )
    np.testing.assert_array_equal(as_tensor.numpy(), truth)


def median_on_the_cpu(values: Tensor, counted: Tensor) -> Tensor:
    return median_and_maximum(values, counted)[0]


def median_under_a_transform(values: Tensor, counted: Tensor) -> Tensor:
    return torch.func.vmap(lambda row, kept: median_on_the_cpu(row[None], kept[None]).squeeze(0))(
        values, counted
    )


MEDIANS = {
    "digits, as on CUDA": median_by_digits,
    "partition, as on a CPU": median_on_the_cpu,
    "nanmedian, as under a transform": median_under_a_transform,
}
each_median = pytest.mark.parametrize("median_of", MEDIANS.values(), ids=MEDIANS.keys())


@each_median
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_the_median_is_the_sorted_middle(
    median_of: Callable[[Tensor, Tensor], Tensor], data: st.DataObject, dtype: torch.dtype
) -> None:
    width = 32 if dtype == torch.float32 else 64
    # Neighbours that differ in the last digit only, besides anything that is a number.
    near = st.integers(0, 3).map(lambda steps: float(1 + steps * torch.finfo(dtype).eps))
    numbers = near | st.floats(width=width, allow_nan=False)
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 12))
    count = rows * columns
    values = data.draw(st.lists(numbers, min_size=count, max_size=count))
    inside = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    table = torch.tensor(values, dtype=dtype).reshape(rows, columns)
    mask = torch.tensor(inside).reshape(rows, columns)
    medians, (_, maxima) = median_of(table, mask), median_and_maximum(table, mask)
    assert medians.dtype == maxima.dtype == dtype
    for row, kept, median, maximum in zip(
        table.tolist(), mask.tolist(), medians.tolist(), maxima.tolist(), strict=True
    ):
        chosen = sorted(value for value, keep in zip(row, kept, strict=True) if keep)
        if chosen:
            assert median == chosen[(len(chosen) - 1) // 2]
            assert maximum == chosen[-1]


@each_median
def test_the_median_passes_over_nan(median_of: Callable[[Tensor, Tensor], Tensor]) -> None:
    values = torch.tensor([[torch.nan, 3.0, 1.0, 2.0, torch.nan, -5.0]])
    counted = torch.tensor([[True, True, True, True, True, False]])
    assert median_of(values, counted).tolist() == [2.0]
    assert median_and_maximum(values, counted)[1].isnan().all()


@each_median
def test_a_large_map_has_the_same_median(median_of: Callable[[Tensor, Tensor], Tensor]) -> None:
    values = torch.randn(3, 100_000, generator=torch.Generator().manual_seed(0)).abs()
    mask = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.9
    before = values.clone()
    expected = torch.stack([row[kept].median() for row, kept in zip(values, mask, strict=True)])
    assert torch.equal(median_of(values, mask), expected)
    assert torch.equal(values, before)


def test_the_median_is_an_operator_that_compilers_see_through() -> None:
    values, counted = torch.rand(2, 9), torch.rand(2, 9) < 0.7
    torch.library.opcheck(torch.ops.lwm_loss.median_and_maximum.default, (values, counted))
    torch._dynamo.reset()
    compiled = torch.compile(LF.curriculum_threshold, fullgraph=True, backend="aot_eager")
    expected = LF.curriculum_threshold(values, 0.5, mask=counted)
    assert torch.equal(compiled(values, 0.5, mask=counted), expected)


def test_a_map_laid_out_otherwise_has_the_same_threshold() -> None:
    weight = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0))
    for other in (weight.transpose(1, 2).contiguous().transpose(1, 2), weight.flip(0).flip(0)):
        assert torch.equal(LF.curriculum_threshold(other, 0.0), weight.flatten(1).median(1).values)
    batch_last = weight.movedim(0, -1).contiguous().movedim(-1, 0)
    assert torch.equal(LF.curriculum_threshold(batch_last, 1.0), weight.flatten(1).amax(1))


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_a_map_without_pixels(shape: tuple[int, ...]) -> None:
    weight = torch.zeros(shape)
    assert LF.curriculum_threshold(weight, 0.5).tolist() == [0.0] * shape[0]
    assert lwm.SelfPacedCurriculum(2)(weight, weight > 0).shape == shape


def test_the_median_is_the_lower_one() -> None:
    weight = torch.tensor([[[4.0, 1.0, 2.0, 8.0]]])
    assert LF.curriculum_threshold(weight, 0.0).tolist() == [2.0]
    assert LF.curriculum_threshold(weight, 0.5).tolist() == [5.0]
    assert LF.curriculum_threshold(weight, 1.0).tolist() == [8.0]
    assert LF.curriculum_threshold(weight[..., :3], 0.0).tolist() == [2.0]


def test_median_and_maximum_are_taken_inside_the_mask() -> None:
    weight = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 9.0]]])
    mask = torch.tensor([[[False, False, False, True, True, True, False]]])
    assert LF.curriculum_threshold(weight, 0.0, mask=mask).tolist() == [2.0]
    assert LF.curriculum_threshold(weight, 1.0, mask=mask).tolist() == [3.0]


def test_each_image_has_its_own_threshold() -> None:
    weight = torch.tensor([[[0.0, 1.0, 2.0]], [[10.0, 10.0, 30.0]]])
    assert LF.curriculum_threshold(weight, 0.5).tolist() == [1.5, 20.0]


def test_the_threshold_of_one_labelled_pixel_is_its_weight() -> None:
    mask = torch.tensor([[[False, True, False]]])
    weight = torch.tensor([[[0.9, 0.4, 0.1]]])
    assert LF.curriculum_threshold(weight, 0.5, mask=mask).tolist() == pytest.approx([0.4])


def test_an_image_without_labels_has_threshold_zero() -> None:
    weight, mask = torch.ones(2, 1, 2), torch.tensor([[[True, True]], [[False, False]]])
    assert LF.curriculum_threshold(weight, 0.5, mask=mask).tolist() == [1.0, 0.0]


@given(weight_maps(), st.integers(1, 8), st.integers(0, 9), st.booleans())
def test_filter_is_the_oracles(
    drawn: tuple[Tensor, Tensor], epochs: int, epoch: int, masked: bool
) -> None:
    weight, mask = drawn
    curriculum = lwm.SelfPacedCurriculum(epochs)
    for _ in range(epoch):
        curriculum.step()
    truth_mask = mask.numpy() if masked else None
    # Where rounding decides whether M < threshold, either answer is right.
    threshold = ref.curriculum_threshold(weight.numpy(), epoch / epochs, truth_mask)
    gap = np.abs(weight.numpy() - threshold.reshape(-1, *[1] * (weight.ndim - 1)))
    assume(epoch / epochs * 8 % 1 == 0 or epoch >= epochs or (gap > 1e-6).all())
    inside = mask if masked else torch.ones_like(mask)
    truth = ref.curriculum_filter(weight.numpy(), epoch / epochs, truth_mask)
    for dtype in (torch.float64, torch.float32):
        ours = curriculum(weight.to(dtype), mask if masked else None)
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours[inside].numpy(), truth[inside.numpy()])


def test_the_threshold_itself_is_dropped() -> None:
    weight = torch.tensor([[[1.0, 2.0, 2.0, 5.0, 5.0]]])
    curriculum = lwm.SelfPacedCurriculum(2)
    assert curriculum(weight).tolist() == [[[1.0, 0.0, 0.0, 0.0, 0.0]]]
    curriculum.step()
    assert curriculum(weight).tolist() == [[[1.0, 2.0, 2.0, 0.0, 0.0]]]
    curriculum.step()
    assert torch.equal(curriculum(weight), weight)  # e = E: the maximum too
    curriculum.step()
    assert torch.equal(curriculum(weight), weight)


def test_the_kept_share_never_shrinks() -> None:
    weight = torch.rand(3, 9, 9)
    curriculum = lwm.SelfPacedCurriculum(7)
    kept = []
    for _ in range(9):
        kept.append((curriculum(weight) > 0).flatten(1).sum(1))
        curriculum.step()
    shares = torch.stack(kept)
    assert (shares[1:] >= shares[:-1]).all()
    assert (shares[0] == 40).all()  # strictly below the median of 81
    assert (shares[7:] == 81).all()
    assert (shares[6] < 81).all()


def test_progress_is_a_float() -> None:
    curriculum = lwm.SelfPacedCurriculum(epochs=4)
    seen = []
    for _ in range(4):
        assert isinstance(curriculum.progress, float)
        seen.append(curriculum.progress)
        curriculum.step()
    assert seen == [0.0, 0.25, 0.5, 0.75]
    assert curriculum.progress >= 1.0
    curriculum.reset()
    assert curriculum.progress == 0.0


def test_a_checkpoint_carries_the_epoch() -> None:
    weight = torch.rand(2, 5, 5)
    curriculum = lwm.SelfPacedCurriculum(5)
    for _ in range(3):
        curriculum.step()
    file = io.BytesIO()
    torch.save(curriculum.state_dict(), file)
    file.seek(0)
    resumed = lwm.SelfPacedCurriculum(5)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.progress == curriculum.progress == 0.6
    assert torch.equal(resumed(weight), curriculum(weight))
    resumed.step()
    curriculum.step()
    assert torch.equal(resumed(weight), curriculum(weight))
    assert resumed.progress == 0.8


def test_a_checkpoint_carries_the_length_of_the_schedule() -> None:
    curriculum, other = lwm.SelfPacedCurriculum(5), lwm.SelfPacedCurriculum(50)
    curriculum.step()
    other.load_state_dict(curriculum.state_dict())
    assert other.progress == 0.2


def test_losses_carry_their_curriculum() -> None:
    for build in (
        lambda: lwm.HardPixelMiningLoss(curriculum=lwm.SelfPacedCurriculum(5)),
        lambda: lwm.HardPixelLoss(
            nn.CrossEntropyLoss(reduction="none"),
            lwm.LossWeightModule(),
            lwm.SelfPacedCurriculum(5),
        ),
    ):
        loss, resumed = build(), build()
        assert loss.curriculum is not None
        loss.curriculum.step()
        resumed.load_state_dict(loss.state_dict())
        assert resumed.curriculum is not None
        assert resumed.curriculum.progress == 0.2


def test_a_copy_has_its_own_epoch() -> None:
    curriculum = lwm.SelfPacedCurriculum(5)
    curriculum.step()
    other = copy.deepcopy(curriculum)
    other.step()
    assert (curriculum.progress, other.progress) == (0.2, 0.4)


def test_it_has_buffers_and_no_parameters() -> None:
    curriculum = lwm.SelfPacedCurriculum(5)
    assert list(curriculum.parameters()) == []
    assert set(curriculum.state_dict()) == {name for name, _ in curriculum.named_buffers()}
    # Half precision or a device move must not lose the count.
    long = lwm.SelfPacedCurriculum(10_000)
    for _ in range(2049):
        long.step()
    assert long.half().progress == 0.2049


def test_set_epoch_goes_to_any_epoch() -> None:
    curriculum, stepped = lwm.SelfPacedCurriculum(4), lwm.SelfPacedCurriculum(4)
    weight = torch.rand(2, 5, 6)
    for epoch in range(6):
        curriculum.set_epoch(epoch)
        assert torch.equal(curriculum(weight), stepped(weight))
        assert curriculum.progress == stepped.progress
        stepped.step()
    curriculum.set_epoch(1)
    assert curriculum.progress == 0.25
    assert curriculum.epoch.dtype == torch.int64


@pytest.mark.parametrize(
    ("epoch", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)]
)
def test_an_epoch_that_is_none(epoch: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^Expected `epoch`"):
        lwm.SelfPacedCurriculum(4).set_epoch(epoch)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (torch.tensor([0.1, 0.2, 0.3]), r"\(3,\)"),
        (torch.zeros(1, 2), r"\(1, 2\)"),
        (torch.tensor(-1.0), "-1"),
        (torch.tensor([0.5, torch.nan]), "nan"),
    ],
)
def test_a_progress_tensor_that_is_none(progress: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^Expected `progress`.*{words}"):
        LF.curriculum_threshold(torch.rand(2, 3, 4), progress)


def test_progress_may_differ_from_map_to_map() -> None:
    weight = torch.rand(2, 3, 4)
    both = LF.curriculum_threshold(weight, torch.tensor([0.0, 0.5]))
    assert both[0] == LF.curriculum_threshold(weight, 0.0)[0]
    assert both[1] == LF.curriculum_threshold(weight, 0.5)[1]
