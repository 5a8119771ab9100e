"""distilabel itself: imported where it is needed, and kept quiet."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from soupstock.errors import MistakeError, shown

NEEDED = "a task step needs distilabel: pip install 'soupstock[distilabel]'"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what distilabel does to the process out of it: its warnings, its way of tracebacks."""
    before = sys.excepthook
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.excepthook = before


@cache
def load_library() -> Any:
    """Import distilabel, which takes seconds; raises MistakeError where it is not there."""
    # What it logs concerns its own pipelines.
    logging.getLogger("distilabel").setLevel(logging.CRITICAL)
    try:
        with quiet():
            import distilabel.models.llms.base
            import distilabel.models.mixins.magpie
            import distilabel.steps.tasks
    except ImportError as error:
        raise MistakeError(f"{NEEDED} ({shown(error)})") from error
    return distilabel


def version() -> str:
    """Return distilabel's version."""
    return str(load_library().__version__)
