"""The folder of a run: its configuration, figures, checkpoints and panels."""

from __future__ import annotations

import csv
import io
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lwm_loss
from examples.rgbd.checkpoint import LATEST, PREVIOUS, unfinished, write_atomically
from examples.rgbd.config import OptionError, TrainConfig, from_plain, to_plain

_PACKAGES = ("torch", "numpy", "accelerate", "transformers", "torchmetrics", "pillow", "scipy")


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    found = {"python": platform.python_version(), "lwm-loss": lwm_loss.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _in_use(path: Path) -> bool:
    """Whether there is anything but what a run killed in its first moment may have left."""
    if not path.exists():
        return False
    return not path.is_dir() or bool(set(path.iterdir()) - set(unfinished(path)))


class RunFolder:
    """Where a run writes. Every file is replaced in one step.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

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
            if _in_use(output):
                raise OptionError(
                    f"Expected --output to be a new or empty folder, but {output} is in use: did "
                    f"you mean --resume {output}?"
                )
            return cls(output)
        number = 1
        while True:
            path = Path("runs") / (name if number == 1 else f"{name}-{number}")
            if not path.exists():
                return cls(path)
            number += 1

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
        return cls(path)

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
        self.path.mkdir(parents=True, exist_ok=True)
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
