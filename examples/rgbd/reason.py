"""What another library's exception says, for one's own sentence."""

from __future__ import annotations

import textwrap


def reason_of(error: BaseException, most: int = 200) -> str:
    """Put the message of an exception on one line, cut at a word, without its full stop.

    An exception without a message gives the name of its class; a `KeyError`, its key without quotes.
    """
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    return textwrap.shorten(str(said), most).rstrip(".") or type(error).__name__
