"""Run Python's garbage collector less often while rows are in flight.

The collector looks for objects that refer to each other in a circle, and walks through all young
objects each time. Rows, plans and modules are many objects and hardly any form circles, so most of
that time is wasted. All other memory is freed at once, as always. Imports nothing heavy, because
the command line uses it too.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def infrequent_collection() -> Iterator[None]:
    """Run the collector a hundred times less often within a `with` statement.

    The thresholds of before hold again afterwards.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
