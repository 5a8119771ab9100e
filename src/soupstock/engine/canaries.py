"""Find out whether a step's model can be trusted, with cases whose right answer is known.

Knows no verb: each module in `_CHECKS` offers the check of one.
"""

from collections.abc import Callable
from typing import Protocol

from soupstock.engine import decontamination_canaries, judge_canaries
from soupstock.engine.tally import Tally
from soupstock.inference.call import AnswerSource
from soupstock.rows.table import Table
from soupstock.steps.step import Step


class CanaryCheck(Protocol):
    """Asks the models of one step about canaries, and keeps the result."""

    tally: Tally
    """What the canaries took, apart from the rows."""

    @property
    def column(self) -> str:
        """The column that the step's models fill."""

    async def ask(self, client: AnswerSource) -> None:
        """Ask about the canaries; `tally` grows with the answers."""

    @property
    def failure(self) -> str | None:
        """Why the run should stop; None if it should go on."""


_CHECKS: tuple[Callable[[Step, Table], CanaryCheck | None], ...] = (
    judge_canaries.check_of,
    decontamination_canaries.check_of,
)


def canary_check(step: Step, table: Table) -> CanaryCheck | None:
    """Prepare the check of a step that has taken a table's rows; None if it has none."""
    checks = (check_of(step, table) for check_of in _CHECKS)
    return next((check for check in checks if check is not None), None)
