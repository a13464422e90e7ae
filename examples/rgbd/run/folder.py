"""The folder of a run: its configuration, figures, checkpoints and panels."""

from __future__ import annotations

import csv
import io
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import lwm_loss
from examples.rgbd.data.files.atomic import unfinished, write_atomically
from examples.rgbd.options.as_json import from_plain, to_plain
from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.run.checkpoint import LATEST, PREVIOUS

_PACKAGES = ("torch", "numpy", "accelerate", "transformers", "pillow", "scipy")
_LOCK = ".lock"


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    found = {"python": platform.python_version(), "lwm-loss": lwm_loss.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _refuse_if_in_use(path: Path) -> None:
    """Raise if there is anything but what a run killed in its first moment may have left."""
    if not path.exists():
        return
    if not path.is_dir() or set(path.iterdir()) - {*unfinished(path), path / _LOCK}:
        raise OptionError(
            f"Expected --output to be a new or empty folder, but {path} is in use: did you mean "
            f"--resume {path}?"
        )


def _lock(path: Path) -> FileLock | None:
    """Lock a file until it is released or this process ends, where the file system can."""
    # Its file alone would lock out the run that goes on with one that was killed.
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise OptionError(
            f"Expected to be the only run that writes to {path.parent}, but another one is still "
            "at it: did you mean to end that one first, or another --output?"
        ) from None
    except (OSError, NotImplementedError):  # a file system without locks
        return None
    return lock


def _first_free(name: str) -> Path:
    """The first of `runs/<name>`, `runs/<name>-2`, ... that does not exist."""
    number = 1
    while True:
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return path
        number += 1


class RunFolder:
    """Where a run writes. Every file is replaced in one step.

    Args:
        path: the folder.
        name: of a new run whose folder was not asked for, and may be another.
        begun: it is that of a run to go on with.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, name: str | None = None, *, begun: bool = False) -> None:
        self.path = path
        self._name = name
        self._begun = begun
        self._lock: FileLock | None = None

    @classmethod
    def choose(cls, output: Path | None, name: str) -> RunFolder:
        """The folder of a new run; nothing is created yet.

        Args:
            output: the folder that was asked for; None takes the first free of `runs/<name>`,
                `runs/<name>-2`, ...
            name: of the run.

        Raises:
            OptionError: the folder that was asked for is in use.
        """
        if output is not None:
            _refuse_if_in_use(output)
            return cls(output)
        return cls(_first_free(name), name)

    def claim(self) -> None:
        """Create the folder, if the run is a new one, and keep all other runs out of it.

        Runs that are started together choose one name; the first to create it has it. The lock
        goes with the process, however it ends, or by `release`.

        Raises:
            OptionError: another run has begun to write to the folder.
        """
        while not self._begun:
            try:
                self.path.mkdir(parents=True)
                self._begun = True
            except FileExistsError:
                if self._name is not None:
                    self.path = _first_free(self._name)
                else:
                    _refuse_if_in_use(self.path)
                    self._begun = True
        if self._lock is None:
            self._lock = _lock(self.path / _LOCK)

    def release(self) -> None:
        """Let other runs in again."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of a run that was begun.

        Raises:
            OptionError: there is none.
        """
        if not (path / "config.json").exists():
            raise OptionError(
                f"Expected the folder of a run at {path}, but it has no config.json: did you mean "
                "another folder, or --output for a new run?"
            )
        return cls(path, begun=True)

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint was ever written."""
        return any((self.path / name).exists() for name in (LATEST, PREVIOUS))

    def read_config(self) -> TrainConfig:
        """The options that the run was begun with.

        Raises:
            OptionError: `config.json` was changed and no longer holds them.
        """
        path = self.path / "config.json"
        try:
            return from_plain(TrainConfig, json.loads(path.read_text())["options"])
        except (ValueError, KeyError, TypeError) as error:
            raise OptionError(
                f"Expected the options of a run in {path}, but it cannot be used ({error}): was it "
                "edited?"
            ) from error

    def sweep(self) -> None:
        """Remove what a killed run has left half-written; a checkpoint's part can be large."""
        for file in unfinished(self.path):
            file.unlink(missing_ok=True)

    @property
    def panels(self) -> Path:
        """Where the panels go."""
        folder = self.path / "panels"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_config(self, config: TrainConfig, facts: dict[str, Any]) -> None:
        """Write `config.json`: all options, the versions of all packages, and facts of the run."""
        self.write_json(
            "config.json", {"options": to_plain(config), "versions": versions(), **facts}
        )

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file."""
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(self.path / name, lambda file: file.write(text.encode()))

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """Write `metrics.csv`, one row an epoch."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in history)
        write_atomically(
            self.path / "metrics.csv", lambda file: file.write(text.getvalue().encode())
        )
