"""What waits for a server, and what of it goes next. Knows neither servers nor calls."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Items with ranks, in the order they came.

    The highest rank goes first: rows leave before more come in. When few are left it is the other
    way round, for the lowest have the longest way to go, and all wait for the last one.
    """

    def __init__(self) -> None:
        self._urgent: deque[T] = deque()
        self._ranks: dict[int, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: T, rank: int) -> None:
        """Put an item behind those of its rank."""
        self._ranks.setdefault(rank, deque()).append(item)
        self._count += 1

    def add_urgent(self, item: T) -> None:
        """Put an item before all ranks."""
        self._urgent.append(item)
        self._count += 1

    def first(self, few: int) -> T:
        """Return the item that goes next; `few` is how many are few."""
        return self._line(few)[0]

    def take(self, few: int) -> T:
        """Take out the item that goes next."""
        item = self._line(few).popleft()
        self._count -= 1
        return item

    def _line(self, few: int) -> deque[T]:
        if self._urgent:
            return self._urgent
        choose = min if self._count <= few else max
        return self._ranks[choose(rank for rank, line in self._ranks.items() if line)]
