"""Share a number out among groups, as evenly as they have room."""

import numpy as np

from soupstock.similarity.minhash import Counts


def shared_out(wanted: int, room: Counts) -> Counts:
    """Give each group the same, as far as it has room; what is left over goes to the first ones."""
    wanted = min(wanted, int(room.sum()))
    low, high = 0, int(room.max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if np.minimum(room, level).sum() <= wanted else (low, level - 1)
    given = np.minimum(room, low)
    over = np.flatnonzero(room > low)[: wanted - int(given.sum())]
    given[over] += 1
    return given
