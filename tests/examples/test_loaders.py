"""Loaders beside an interrupt: the parent alone ends a run, and nothing swallows what tells it to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

import pytest
import torch
from torch.utils.data import Dataset

from examples.rgbd.data.loading import batches, loader

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


class Numbers(Dataset[int]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        return index


def test_workers_outlive_an_interrupt_that_is_sent_to_all() -> None:
    source = loader(Numbers(), workers=1, batch_size=1)
    seen = []
    for number in batches(source):
        if not seen:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, signal.SIGINT)
        seen.append(number)
    assert torch.cat(seen).tolist() == list(range(6))


def test_workers_of_a_single_pass_end_with_it_and_not_in_a_destructor() -> None:
    before = set(multiprocessing.active_children())
    source = loader(Numbers(), workers=1, batch_size=1)
    assert len(list(batches(source))) == 6
    assert not set(multiprocessing.active_children()) - before
    kept = loader(Numbers(), workers=1, passes=True, batch_size=1)
    for _ in range(2):
        assert len(list(batches(kept))) == 6
    assert len(set(multiprocessing.active_children()) - before) == 1
