"""Steps that score and check."""

from typing import Annotated, Literal

from pydantic import Field

from soupstock.spec.fields import MAX_TOKENS, Column, ColumnPath, Name, Role, Spec


class Judge(Spec):
    """Score each row against a rubric."""

    judge: Column
    """The column to make: a score from 0 to 1, and the level and reason for each criterion."""

    model: Role | Annotated[tuple[Role, ...], Field(min_length=1)] | None = None
    """Which of the pipeline's models is the judge; a list is a jury. Leave it out if the rubric has
    only rules."""

    rubric: Name
    """The rubric: `chat` is prompts/rubrics/chat.yaml."""

    compare: ColumnPath | None = None
    """A column of several answers (made with `n`). The judge compares them with each other, two at
    a time, and the new column holds the best, the worst, the margin and all ranks."""

    aggregate: Literal["mean", "median", "majority", "unanimity"] = "mean"
    """How a jury's scores become one, for each criterion. `majority`: the most frequent level (the
    lowest, if there are several). `unanimity`: the lowest level. Default: mean."""

    canaries: Annotated[int, Field(ge=8, le=1000)] | Literal[False] = 20
    """How many rows to corrupt, each in several ways, to check whether the judge notices; `false`
    skips the check. Default: 20."""

    on_unfit: Literal["warn", "stop"] = "warn"
    """What to do if the judge fails its sanity check: `warn`, or `stop` the run there as partial.
    Default: warn."""

    logprobs: bool = True
    """Whether to ask for the probability of each level: their mean is a better score than the most
    likely level. Servers without log-probabilities still work. Default: true."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    """How random the judge's answers are. Default: 0."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """The maximum length of a verdict, in tokens. Default: 1024."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, if a verdict cannot be parsed. Default: 2."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the judges; empty if only rules judge."""
        model = self.model or ()
        return (model,) if isinstance(model, str) else model


class Verify(Spec):
    """Check answers by rule, and find the shortest right one."""

    verify: Column
    """The column to make: which answers are right (`passed`), their share (`pass_rate`), and the
    shortest right one (`shortest`, null if there is none) with its `place` among the answers."""

    column: ColumnPath
    """The column with the answers: one text in each row, or several (made with `n`)."""

    by: Literal["number", "math", "exact", "tests", "call"] = "number"
    """How to check an answer. `number`: its last number equals the right one. `math`: its last
    formula does (fractions, roots, sets, intervals, equations), according to the library
    math-verify. `exact`: its last line is the right text, ignoring case and spacing. `tests`: its
    Python code passes unit tests. `call`: it calls existing functions with valid arguments.
    Default: number."""

    answer: ColumnPath | None = None
    """For number, math and exact: the column with the right answer."""

    tests: ColumnPath | None = None
    """For tests: the column with the tests, as Python code that raises an error if one fails."""

    tools: ColumnPath | None = None
    """For call: the column with the functions, as JSON: a list of `name`, `description` and
    `parameters` (a JSON Schema)."""

    stubs: ColumnPath | None = None
    """For call: the column with Python code that defines the functions. Each call is then executed,
    and the new column's `results` hold what it returned."""

    seconds: Annotated[float, Field(gt=0, le=600)] = 5
    """For math, tests and stubs: the time limit for each answer, in seconds. Default: 5."""

    megabytes: Annotated[int, Field(ge=64, le=65536)] = 512
    """For math, tests and stubs: the memory limit, in MB. Default: 512."""

    than: ColumnPath | None = None
    """The column with a longer answer that the checked answers are shorter versions of. An answer
    that is not shorter does not pass, and the new column's `saved` is the share of the length
    that was saved."""

    tokens: ColumnPath | None = None
    """The column with the number of tokens of each answer, as the generate step's `tokens` makes
    it. With it, lengths are counted in tokens; without it, in characters."""
