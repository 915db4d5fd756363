"""How many coefficients the Huffman codes of a WSQ hold, found without decoding them.

The library that decodes WSQ trusts its file: it writes beyond its memory where there are too many
codes, and leaves pixels to chance where there are too few. So they are counted before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biometric_core.errors import CaptureRefused
from biometric_core.schemas import UInt8Array

_LONGEST = 16  # bits of a code
_PIECE = 1 << 17  # bytes looked at together
_SHORT_RUN, _LONG_RUN = 105, 106  # zeros, their number in the next 8 or 16 bits
_MOST_IN_ONE = 100  # a value up to here is a run of so many zeros
_EXTRA = {101: 8, 102: 8, 103: 16, 104: 16, _SHORT_RUN: 8, _LONG_RUN: 16}  # bits after the code
_NO_VALUES = (0, 255)


@dataclass(frozen=True)
class Codes:
    """A table of codes, by the 16 bits that begin with one.

    Attributes:
        length: uint8 (65536,), bits of the code; 0 where none begins like that.
        value: uint8 (65536,), what it stands for.
    """

    length: UInt8Array
    value: UInt8Array


def codes(counts: Sequence[int], values: Sequence[int]) -> Codes:
    """The canonical codes of a table.

    Args:
        counts: how many codes have 1, 2, ... 16 bits.
        values: what the codes stand for, in their order.

    Raises:
        CaptureRefused: `not_an_image`, more codes than there can be.
    """
    length, value = np.zeros(1 << _LONGEST, np.uint8), np.zeros(1 << _LONGEST, np.uint8)
    code, remaining = 0, iter(values)
    for bits, count in enumerate(counts, start=1):
        for _ in range(count):
            begin, end = code << (_LONGEST - bits), (code + 1) << (_LONGEST - bits)
            if end > 1 << _LONGEST:
                raise CaptureRefused("not_an_image", "WSQ with an impossible table of codes")
            length[begin:end], value[begin:end] = bits, next(remaining)
            code += 1
        code <<= 1
    length[np.isin(value, _NO_VALUES)] = 0
    return Codes(length, value)


def count(data: bytes, table: Codes) -> int | None:
    """Coefficients that the codes of a block stand for; None where they break off or are damaged.

    Args:
        data: the block, without stuffed bytes; its last byte may be filled up with ones.
        table: of the block.
    """
    extra = np.zeros(256, np.uint8)
    extra[list(_EXTRA)] = list(_EXTRA.values())
    advance = np.where(table.length > 0, table.length + extra[table.value], 0).astype(np.uint8)
    padded = np.frombuffer(data + b"\xff" * 8, np.uint8)
    end, place, total = 8 * len(data), 0, 0
    while place < end:
        first = place // 8
        windows = _windows(padded[first : first + _PIECE + 8])
        limit = min(end - 8 * first, 8 * _PIECE)
        steps = advance[windows].data
        at, visited = place - 8 * first, []
        while at < limit and (step := steps[at]):
            visited.append(at)
            at += step
        last = at < limit or at > end - 8 * first  # no code, or one that is not all there
        if last and at > limit:
            at = visited.pop()
        total += _held(windows, np.array(visited, np.int64), table)
        if last:
            rest = end - 8 * first - at
            filled = rest < 8 and windows[at] >> (_LONGEST - rest) == (1 << rest) - 1
            return total if filled else None
        place = 8 * first + at
    return total


def _windows(data: UInt8Array) -> npt.NDArray[np.uint16]:
    """The 16 bits that begin at each bit, up to the last three bytes."""
    wide = data.astype(np.uint32)
    three = (wide[:-2] << 16) | (wide[1:-1] << 8) | wide[2:]
    shifted = three[:, None] >> np.arange(8, 0, -1, dtype=np.uint32)
    return shifted.astype(np.uint16).ravel()


def _held(windows: npt.NDArray[np.uint16], visited: npt.NDArray[np.int64], table: Codes) -> int:
    """Coefficients of the codes that begin at the visited bits."""
    found = windows[visited]
    value = table.value[found].astype(np.int64)
    held = np.where(value <= _MOST_IN_ONE, value, 1)
    for run, shift in ((_SHORT_RUN, 8), (_LONG_RUN, 0)):
        which = value == run
        behind = windows[visited[which] + table.length[found[which]]]
        held[which] = behind >> shift
    return int(held.sum())
