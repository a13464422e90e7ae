"""What all command lines share: options by tyro, and errors as one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import tyro

from examples.rgbd.data import DataError
from examples.rgbd.options.groups import OptionError

T = TypeVar("T")


def parse(
    kind: type[T], args: Sequence[str], *, prog: str, description: str, default: T | None = None
) -> T:
    """Options from a command line; groups of options share one flat set of names.

    An option that cannot be read ends in one sentence and status 2.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                args=args,
                prog=prog,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code:
            print(f"error: {_sentence(said.getvalue(), args)} See {prog} --help.", file=sys.stderr)
        raise
    except BrokenPipeError:  # `--help | head`
        _stop_writing()


def _sentence(text: str, args: Sequence[str]) -> str:
    """What tyro says of a line that it cannot read, in one sentence and without its frame."""
    parts: list[list[str]] = [[]]  # what stands between its rules; the title comes first
    for line in text.splitlines():
        content = line.strip("│ ")
        if line.startswith("╭") or not content.strip("─-╰╯"):
            parts.append([])
        elif content:
            parts[-1].append(content)
    said = [part for part in parts if part]
    framed = "╭" in text  # where the encoding allows; otherwise the title is a part of its own
    message = " ".join((said if framed or len(said) < 2 else said[1:])[0]) if said else text
    message = message.rstrip(".")
    for part in said:
        if part[0].startswith("Perhaps you meant") and len(part) > 1:
            message += f": did you mean {part[1].split()[0]}"
            return f"{message}?"
    if message.startswith("Unrecognized") and sum(Path(arg).is_file() for arg in args) > 1:
        return f"{message}: is a pattern not quoted, so that the shell put names in its place?"
    return f"{message}."


def _stop_writing() -> NoReturn:
    """End quietly where `| head` has seen enough; nor is there anywhere to flush to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(1) from None


def guarded(command: Callable[[], None]) -> None:
    """Run a command; a fault of the user's input or disk ends in one sentence and status 1.

    Errors of the program itself keep their traceback.
    """
    try:
        command()
    except (DataError, OptionError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        _stop_writing()
    except OSError as error:
        where = f" {error.filename}" if error.filename else " files"
        print(
            f"error: Expected to read or write{where}, but got: {error.strerror or error}.",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt as interrupt:
        print(": ".join(["interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        raise SystemExit(130) from None
