"""Front matter and template; renders the messages that a model is asked with.

Knows no pipeline: which columns there are is the plan's business.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soupstock.errors import MistakeError, Place, shown
from soupstock.loader import Located, parse_yaml, validate
from soupstock.spec import Spec

if TYPE_CHECKING:
    from types import TracebackType

    from jinja2 import Environment

_FENCE = "---"


class PromptError(MistakeError):
    """A prompt that cannot be rendered for a row."""


class _Example(Spec):
    user: str
    assistant: str


class _FrontMatter(Spec):
    description: str = ""
    system: str = ""
    examples: tuple[_Example, ...] = ()


@dataclass(frozen=True)
class _Text:
    """A compiled template, and the line at which it begins in its file."""

    render: Callable[[Mapping[str, object]], str]
    file: Path
    line: int
    variables: frozenset[str]

    def __call__(self, columns: Mapping[str, object]) -> str:
        try:
            return self.render(columns)
        # A template calls methods of any value, and they may raise anything.
        except Exception as error:
            line = _line_within(error.__traceback__, str(self.file))
            place = Place(self.file, line and line + self.line - 1)
            raise PromptError(f"the prompt cannot be rendered: {shown(error)}", place) from error


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: messages with blanks that a row's columns fill."""

    name: str
    description: str
    variables: frozenset[str]
    """The names that it needs."""
    _turns: tuple[tuple[str, _Text], ...] = field(repr=False)

    def messages(self, columns: Mapping[str, object]) -> list[dict[str, str]]:
        """Render the messages: system, then examples, then the question; raises PromptError.

        What repeats from row to row comes first, so that a server's prefix cache can hold it.
        """
        rendered = [(role, text(columns)) for role, text in self._turns]
        return [{"role": role, "content": text} for role, text in rendered]


def parse_prompt(name: str, text: str, file: Path) -> Prompt:
    """Parse a prompt: YAML between `---` lines, if any, then a Jinja body; raises MistakeError."""
    matter, body, line = _parted(text.replace("\r\n", "\n"), file)
    front = validate(matter, _FrontMatter)
    turns: list[tuple[str, _Text]] = []
    if front.value.system.strip():
        turns.append(("system", _inner(front.value.system, front.place("system"), file)))
    for index, example in enumerate(front.value.examples):
        place = front.located.place
        turns += [
            ("user", _inner(example.user, place("examples", index, "user"), file)),
            ("assistant", _inner(example.assistant, place("examples", index, "assistant"), file)),
        ]
    if not body.strip():
        raise MistakeError("the prompt asks nothing: it has no text", Place(file))
    turns.append(("user", _compiled(body, file, line)))
    variables = frozenset[str]().union(*(turn.variables for _, turn in turns))
    return Prompt(name, front.value.description, variables, tuple(turns))


def _parted(text: str, file: Path) -> tuple[Located, str, int]:
    """Part a file into its front matter and its body, with the body's first line."""
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[0].rstrip() != _FENCE:
        return Located(data={}, file=file, lines={}), text, 1
    ends = [number for number, line in enumerate(lines) if number and line.rstrip() == _FENCE]
    if not ends:
        problem = f"the front matter that begins here has no second {_FENCE!r} line"
        raise MistakeError(problem, Place(file, 1))
    matter = "\n".join(lines[1 : ends[0]])
    blank = Located(data={}, file=file, lines={})
    located = parse_yaml(matter, file, start=1) if matter.strip() else blank
    return located, "\n".join(lines[ends[0] + 1 :]), ends[0] + 2


def _inner(source: str, place: Place, file: Path) -> _Text:
    """Compile a text of the front matter; a block (`|`) begins one line under its key."""
    return _compiled(source, file, (place.line or 1) + ("\n" in source))


@cache
def _environment() -> "Environment":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Models read plain text: `&amp;` would be a fault.
        autoescape=False,
        finalize=_finalize,
    )
    # The same row must always give the same prompt.
    for chance in ("lipsum", "cycler", "joiner"):
        del environment.globals[chance]
    del environment.filters["random"]
    # Jinja's own is for HTML, and writes ' as \u0027.
    environment.filters["tojson"] = _to_json
    return environment


def _finalize(value: Any) -> Any:
    if value is None:
        raise ValueError("a value is null; `{{ name or '' }}` allows that")
    if callable(value):
        # Its text would hold an address, another one in each process.
        raise TypeError("a function is no text; call it")
    return value


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _compiled(source: str, file: Path, line: int) -> _Text:
    """Compile a template that begins at a line of a file."""
    from jinja2 import Template, TemplateSyntaxError, meta, nodes

    environment = _environment()
    try:
        tree = environment.parse(source, filename=str(file))
        for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            problem = "a prompt is one file: include, import and extends are not allowed"
            raise MistakeError(problem, Place(file, node.lineno + line - 1))
        variables = meta.find_undeclared_variables(tree) - set(environment.globals)
        code = environment.compile(source, filename=str(file))
    except TemplateSyntaxError as error:
        place = Place(file, error.lineno + line - 1)
        raise MistakeError(f"not Jinja: {shown(error.message)}", place) from error
    except RecursionError as error:
        raise MistakeError("it is nested too deeply", Place(file)) from error
    template = Template.from_code(environment, code, environment.make_globals(None))
    if not any(tree.find_all((nodes.Expr, nodes.Stmt))):
        constant = template.render().strip()
        return _Text(lambda _: constant, file, line, frozenset())
    return _Text(lambda columns: template.render(columns).strip(), file, line, frozenset(variables))


def _line_within(traceback: "TracebackType | None", file: str) -> int | None:
    """Find the template's line that a traceback leads through."""
    line = None
    while traceback:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
