"""Checkpoints that survive a kill, a full disk and an interrupted write.

A checkpoint is written to a temporary file in the same folder, flushed to the disk, and only then
given its name in one step. The one before it is kept under another name. So at every moment there
is at least one whole checkpoint, and reading falls back on the older one where the newer cannot be
read. Reading executes nothing that lies in the file (`weights_only`).
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.reason import reason_of

LATEST = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"
BEST = "best.pt"
FORMAT = 2
_FOLDER = 0x10  # the bit of DOS in the attributes of an entry of a zip file


class CheckpointError(DataError):
    """A checkpoint that is missing, damaged or of another program."""


def save_checkpoint(path: Path, state: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Write a state of tensors, numbers, strings, lists and dictionaries.

    Args:
        path: the file.
        state: what to save.
        keep_previous: keep what was there as `checkpoint.previous.pt`.

    Raises:
        OSError: it could not be written; what was there before is untouched.
    """
    previous = path.with_name(PREVIOUS) if keep_previous else None
    try:
        write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file), previous)
    except RuntimeError as error:
        # torch's writer turns whatever stops it into an error of its own.
        cause = error.__context__
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        reason = cause if isinstance(cause, OSError) else str(error).splitlines()[0]
        raise OSError(
            f"writing {path} failed ({reason}); the checkpoint before it is untouched"
        ) from error


def _check_sums(path: Path) -> None:
    """Compare the content with the sums stored in it, for torch reads a flipped bit as it is."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            # torch compresses nothing, and does not read what is marked as a folder.
            stored = part.compress_type == zipfile.ZIP_STORED
            if not stored or part.external_attr & _FOLDER:
                raise zipfile.BadZipFile(f"the entry {part.filename!r} in it is damaged")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged!r} in it is not what was written")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state that `save_checkpoint` wrote, to the CPU.

    Raises:
        CheckpointError: it is missing, damaged, or no checkpoint of these pipelines.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is said below
            _check_sums(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"Expected a checkpoint at {path}, but there is no such file: is this the folder of a "
            "run?"
        ) from None
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = reason_of(error)
        if isinstance(error, pickle.UnpicklingError):  # torch's text is about its own history
            reason = "it is not a file of torch, or holds more than tensors and plain values"
        raise CheckpointError(
            f"Expected a checkpoint at {path}, but it cannot be read ({reason}): is it damaged?"
        ) from None
    if isinstance(state, dict) and state.get("format", FORMAT) != FORMAT:
        raise CheckpointError(
            f"Expected a checkpoint of format {FORMAT} at {path}, but got format "
            f"{state['format']}: was it written by another version?"
        )
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(
            f"Expected a checkpoint of these pipelines at {path}, but got another kind of file."
        )
    return state


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Fill a network and its optimizer from a state, in place.

    Raises:
        CheckpointError: the state is that of other parameters.
    """
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError):
        raise CheckpointError(
            "Expected a checkpoint of the parameters that the network has, to go on with, but got one "
            "of others: was it written by another version? Its weights may begin a new run, by "
            "--weights-from."
        ) from None


def load_latest(folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """The last checkpoint of a run, or the one before it if the last cannot be read.

    Args:
        folder: of the run.
        say: is told when the older one is taken.

    Raises:
        CheckpointError: neither can be read.
    """
    try:
        return load_checkpoint(folder / LATEST)
    except CheckpointError as error:
        if not (folder / PREVIOUS).exists():
            raise
        state = load_checkpoint(folder / PREVIOUS)
        say(f"{error} Going on with the one before it, {PREVIOUS}.")
        return state
