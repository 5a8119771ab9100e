"""What waits goes in the order that keeps rows moving, and nothing is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from soupstock.inference.model_queue import PriorityQueue


def filled(*items: tuple[str, int]) -> PriorityQueue[str]:
    waiting: PriorityQueue[str] = PriorityQueue()
    for item, rank in items:
        waiting.add(item, rank)
    return waiting


def emptied(waiting: PriorityQueue[str], few: int) -> str:
    return "".join(waiting.take(few) for _ in range(len(waiting)))


def test_the_highest_rank_goes_first_and_within_a_rank_whoever_came_first() -> None:
    assert emptied(filled(("a", 0), ("x", 1), ("b", 0), ("y", 1)), few=0) == "xyab"


def test_when_few_are_left_the_lowest_rank_goes_first() -> None:
    assert emptied(filled(("x", 1), ("y", 1), ("z", 1), ("a", 0), ("b", 0)), few=3) == "xyabz"


def test_what_is_urgent_goes_before_all_ranks_however_few_are_left() -> None:
    waiting = filled(("a", 0), ("x", 9))
    waiting.add_urgent("u")
    assert emptied(waiting, few=5) == "uax"


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=60),
    st.integers(0, 20),
)
def test_each_item_comes_out_once_and_the_first_is_the_one_that_is_taken(
    moves: list[tuple[int, bool, bool]], few: int
) -> None:
    waiting: PriorityQueue[int] = PriorityQueue()
    taken: list[int] = []
    for number, (rank, is_urgent, takes) in enumerate(moves):
        if is_urgent:
            waiting.add_urgent(number)
        else:
            waiting.add(number, rank)
        if takes:
            first = waiting.first(few)
            taken.append(waiting.take(few))
            assert taken[-1] == first
    assert len(waiting) == len(moves) - len(taken)
    taken += [waiting.take(few) for _ in range(len(waiting))]
    assert sorted(taken) == list(range(len(moves)))
