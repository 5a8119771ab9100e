"""Steps that score and check."""

from typing import Annotated, Literal

from pydantic import Field

from soupstock.spec.fields import MAX_TOKENS, Column, Name, Path_, Role, Spec


class Judge(Spec):
    """Score each row against a rubric."""

    judge: Column
    """The column to make: a score from 0 to 1, and each criterion's level and reason."""

    model: Role | Annotated[tuple[Role, ...], Field(min_length=1)] | None = None
    """Which of the pipeline's models is the judge; a list is a jury. None for rules alone."""

    rubric: Name
    """Which rubric to judge by: `chat` is prompts/rubrics/chat.yaml."""

    compare: Path_ | None = None
    """A column of several answers (by `n`). They are compared with each other, two at a time, by
    the rubric, and the new column holds the best, the worst, the margin and all ranks."""

    aggregate: Literal["mean", "median", "majority", "unanimity"] = "mean"
    """How a jury's scores become one, criterion by criterion. `majority`: the level that most give,
    the lowest of several. `unanimity`: the level that all grant, which is the lowest."""

    canaries: Annotated[int, Field(ge=8, le=1000)] | Literal[False] = 20
    """How many of the rows are spoiled, each in several ways, to see whether the judge notices."""

    on_unfit: Literal["warn", "stop"] = "warn"
    """What to do when the judge does not notice: say so, or also end the run there, partial."""

    logprobs: bool = True
    """Whether to ask how likely each level was: the mean is a better score than the likeliest one.
    Servers that tell nothing of it do no harm."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    """How freely the judge draws its tokens."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """How long a verdict may be, in tokens."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when a verdict cannot be read."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The judges' roles; none where only rules judge."""
        model = self.model or ()
        return (model,) if isinstance(model, str) else model


class Verify(Spec):
    """Check answers by rule, and keep the shortest that is right."""

    verify: Column
    """The column to make: which answers are right (`passed`), their share (`pass_rate`), and the
    shortest that is right (`shortest`, null where none is) with its `place` among them."""

    column: Path_
    """The answers: a text, or several (by `n`)."""

    by: Literal["number", "math", "exact", "tests", "call"] = "number"
    """`number`: the last number of an answer is worth the same. `math`: its last formula is, too
    (fractions, roots, sets, intervals, equations), by the library math-verify. `exact`: the last
    line is the same text, but for case and spacing. `tests`: its Python code passes unit tests.
    `call`: it calls functions that there are, with arguments that fit."""

    answer: Path_ | None = None
    """For number, math and exact: the column with the right answer."""

    tests: Path_ | None = None
    """For tests: the column with the tests, as Python code that raises where one fails."""

    tools: Path_ | None = None
    """For call: the column with the functions, as JSON: a list of `name`, `description` and
    `parameters` (a JSON Schema)."""

    stubs: Path_ | None = None
    """For call: the column with Python code that defines the functions. Each call is carried out,
    and the new column's `results` say what came of it."""

    seconds: Annotated[float, Field(gt=0, le=600)] = 5
    """For math, tests and stubs: how long each answer may take."""

    megabytes: Annotated[int, Field(ge=64, le=65536)] = 512
    """For math, tests and stubs: how much memory may be used."""

    than: Path_ | None = None
    """A longer answer, of which these are to be shorter versions: one that is no shorter is not
    right, and the new column says which share of its length is `saved`."""

    tokens: Path_ | None = None
    """How many tokens each answer has: the column that `tokens` of its generate step makes. Then
    lengths are counted in tokens, and in characters where it is left out."""
