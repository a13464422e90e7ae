"""Checkpoints against kills, full disks, damage and malice."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.run import checkpoint
from examples.rgbd.run.checkpoint import (
    LATEST,
    PREVIOUS,
    CheckpointError,
    load_checkpoint,
    load_latest,
    restore,
    save_checkpoint,
)
from examples.rgbd.run.random_state import random_state, restore_random_state

ROOT = Path(__file__).resolve().parents[2]


def state_of(number: int) -> dict[str, object]:
    return {"number": number, "weights": torch.full((50,), float(number)), "history": [{"a": 1.5}]}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was_and_the_one_before_is_kept(tmp_path: Path) -> None:
    for number in range(3):
        save_checkpoint(tmp_path / LATEST, state_of(number), keep_previous=True)
    assert names_in(tmp_path) == [PREVIOUS, LATEST]
    for name, number in ((LATEST, 2), (PREVIOUS, 1)):
        state = load_checkpoint(tmp_path / name)
        assert state["number"] == number
        assert torch.equal(state["weights"], torch.full((50,), float(number)))
        assert state["history"] == [{"a": 1.5}]


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def broken(file) -> None:
        file.write(b"half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, broken)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("links", [True, False])
def test_at_every_moment_of_a_write_there_is_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, links: bool
) -> None:
    for number in range(2):
        save_checkpoint(tmp_path / LATEST, state_of(number), keep_previous=True)
    calls = 0

    class KilledError(BaseException):
        pass

    def dies(name: str):
        original = getattr(os, name)

        def call(*args):
            nonlocal calls
            if name == "link" and not links:
                raise OSError(95, "Operation not supported")
            if calls == at:
                raise KilledError
            calls += 1
            return original(*args)

        return call

    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, dies(name))
    with pytest.raises(KilledError):
        save_checkpoint(tmp_path / LATEST, state_of(2), keep_previous=True)
    monkeypatch.undo()
    said: list[str] = []
    assert load_latest(tmp_path, said.append)["number"] in ((1, 2) if not said else (1,))
    save_checkpoint(tmp_path / LATEST, state_of(3), keep_previous=True)
    assert load_latest(tmp_path)["number"] == 3


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from examples.rgbd.run.checkpoint import save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, {"number": 1}, keep_previous=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(path, {"weights": torch.zeros(1_000_000)}, keep_previous=True)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_never_costs_the_last_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL_DISK, str(tmp_path / LATEST)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "too large" in done.stdout.lower()
    assert load_checkpoint(tmp_path / LATEST)["number"] == 1
    assert names_in(tmp_path) == [LATEST]


def test_the_older_checkpoint_is_taken_when_the_newer_is_damaged(tmp_path: Path) -> None:
    for number in range(2):
        save_checkpoint(tmp_path / LATEST, state_of(number), keep_previous=True)
    content = (tmp_path / LATEST).read_bytes()
    (tmp_path / LATEST).write_bytes(content[: len(content) // 2])
    said: list[str] = []
    assert load_latest(tmp_path, said.append)["number"] == 0
    assert LATEST in said[0]
    assert PREVIOUS in said[0]


@pytest.mark.slow
def test_a_single_flipped_bit_is_noticed_wherever_it_lies(tmp_path: Path) -> None:
    path = tmp_path / LATEST
    save_checkpoint(path, state_of(7))
    content, good = path.read_bytes(), load_checkpoint(path)
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    in_weights = content.index(good["weights"].numpy().tobytes()) + 30
    refused = 0
    # All of the directory, where zipfile and torch read differently, and some of the rest.
    for place in [in_weights, *range(0, directory, 29), *range(directory, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(path)
        except CheckpointError:
            refused += 1
            continue
        # The rest is padding, and time stamps.
        assert place != in_weights
        assert torch.equal(state.pop("weights"), good["weights"]), place
        assert state == {key: value for key, value in good.items() if key != "weights"}, place
    assert refused > 100


def test_an_interrupt_while_a_checkpoint_is_written_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / LATEST, state_of(0))

    class Interrupted(io.BytesIO):
        def write(self, content) -> int:
            if self.tell() > 100:
                raise KeyboardInterrupt
            return super().write(content)

    original = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r": Interrupted() if "w" in mode else original(path, mode),
    )
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / LATEST, state_of(1))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / LATEST)["number"] == 0


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1, 2])])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LATEST).write_bytes(content)
    with pytest.raises(CheckpointError, match=LATEST):
        load_latest(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "missing.pt")


def test_another_programs_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / LATEST)
    with pytest.raises(CheckpointError, match="another kind of file"):
        load_checkpoint(tmp_path / LATEST)


def test_the_state_of_another_version_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "network": {}}, tmp_path / LATEST)
    with pytest.raises(CheckpointError, match="another version"):
        load_checkpoint(tmp_path / LATEST)


class Malicious:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_reading_a_checkpoint_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "x": Malicious()}, tmp_path / LATEST)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / LATEST)
    assert not (tmp_path / "harm").exists()


def test_random_states_survive_a_checkpoint(tmp_path: Path) -> None:
    import random

    def draw() -> list[float]:
        return [
            torch.rand(()).item(),
            torch.randn(3).sum().item(),
            np.random.rand(),
            random.random(),
        ]

    random.gauss(0, 1)
    np.random.standard_normal()
    torch.randn(1)
    save_checkpoint(tmp_path / LATEST, {"random": [random_state()]})
    expected = [draw(), random.gauss(0, 1), np.random.standard_normal()]
    draw()
    restore_random_state(load_checkpoint(tmp_path / LATEST)["random"][0])
    assert [draw(), random.gauss(0, 1), np.random.standard_normal()] == expected


def test_the_state_of_other_parameters_is_refused_in_one_sentence() -> None:
    """Such as of a parameter that nothing used, and that a later version does not build."""

    def made(*channels: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        network = nn.Sequential(*(nn.Linear(2, count) for count in channels))
        return network, torch.optim.SGD(network.parameters(), lr=0.1)

    former, now = made(2, 2), made(2)
    state = {"network": former[0].state_dict(), "optimizer": former[1].state_dict()}
    restore(*former, state)
    for other in (state, {**state, "network": now[0].state_dict()}):
        with pytest.raises(CheckpointError, match=r"other.*--weights-from"):
            restore(*now, other)
