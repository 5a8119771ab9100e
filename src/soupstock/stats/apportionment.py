"""Divide a number of rows among groups: evenly, or by shares."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def even_shares(wanted: int, room: Counts) -> Counts:
    """Give each group the same number, up to its room; the first groups get the remainder."""
    wanted = min(wanted, int(room.sum()))
    low, high = 0, int(room.max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if np.minimum(room, level).sum() <= wanted else (low, level - 1)
    given = np.minimum(room, low)
    over = np.flatnonzero(room > low)[: wanted - int(given.sum())]
    given[over] += 1
    return given


def largest_remainder(rows: int, shares: Sequence[Fraction]) -> list[int]:
    """Divide rows by shares that add up to 1, by the largest remainder; ties go to the first."""
    exact = [rows * share for share in shares]
    parts = [math.floor(part) for part in exact]
    by_rest = sorted(range(len(parts)), key=lambda n: parts[n] - exact[n])
    for number in by_rest[: rows - sum(parts)]:
        parts[number] += 1
    return parts
