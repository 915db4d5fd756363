"""Text for any terminal: what its encoding lacks is written otherwise, never a crash."""

import codecs
import io
import sys

_NAME = "biometric_plain"
_PLAIN = {"\u2192": "->", "\u00b1": "+-", "\u00b7": ".", "\u2713": "+", "\u2717": "x"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that can't be encoded: like ones, else their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    told = (_PLAIN.get(one, one.encode("ascii", "backslashreplace").decode()) for one in lost)
    return "".join(told), error.end


def write_anywhere() -> None:
    """Let standard output and error take any text, on a terminal of ASCII or latin-1 as well."""
    codecs.register_error(_NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)
