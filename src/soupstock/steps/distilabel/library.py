"""The import of distilabel, on first use and without its warnings."""

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
    """Suppress distilabel's warnings, and undo its change of tracebacks."""
    before = sys.excepthook
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.excepthook = before


@cache
def load_library() -> Any:
    """Import distilabel, which takes seconds; raises MistakeError if it is not installed."""
    # Its log is about its own pipelines.
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
