"""The one exception for everything that can be wrong with data on a disk."""

from __future__ import annotations


class DataError(ValueError):
    """A fault of the data, told in one sentence that names the file.

    The command lines print the message and exit with a non-zero status; a traceback would only
    hide it, since the fault is on the disk and not in the program.
    """

    def __init__(self, message: str) -> None:
        # torch raises the error of a loader's worker again with the worker's whole traceback as
        # its message. The sentence stands at the end of it.
        super().__init__(message.rsplit("DataError: ", 1)[-1].strip())
