"""What all command lines share: options by tyro, and errors as one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

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
            print(f"error: {_unboxed(said.getvalue())} See {prog} --help.", file=sys.stderr)
        raise


def _unboxed(text: str) -> str:
    """The message out of the frame that tyro draws around it and around further help."""
    message: list[str] = []
    for line in text.splitlines():
        content = line.strip("│ ")
        if message and content.startswith("──"):
            break
        if line.startswith("│"):
            message.append(content)
    sentence = " ".join(message) or " ".join(text.split())
    return sentence if sentence.endswith(".") else f"{sentence}."


def guarded(command: Callable[[], None]) -> None:
    """Run a command; a fault of the user's input or disk ends in one sentence and status 1.

    Errors of the program itself keep their traceback.
    """
    try:
        command()
    except (DataError, OptionError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:  # `| head` has seen enough; nor is there anywhere to flush to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
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
