"""Prompts: front matter and a template, rendered to the messages that a model is asked with.

Knows no pipeline and no columns.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soupstock.errors import MistakeError, Place, hint, quoted, shown
from soupstock.spec.fields import Spec
from soupstock.spec.loader import Located, parse_yaml, validate
from soupstock.spec.template import MAX_CHARACTERS, FastRenderer, printed_variables

if TYPE_CHECKING:
    from types import TracebackType

    from jinja2 import Environment, Template, nodes

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
    """A compiled template, and the line in its file at which it begins."""

    render: Callable[[Mapping[str, object]], str]
    prompt: str
    file: Path
    line: int
    variables: Mapping[str, int]

    def __call__(self, columns: Mapping[str, object]) -> str:
        try:
            return self.render(columns)
        # A template may call any method of a value, which may raise anything.
        except Exception as error:
            line = _line_within(error.__traceback__, str(self.file))
            # The name, not the file: rows keep this, and must not depend on where the project is.
            place = Place(self.prompt, line and line + self.line - 1)
            raise PromptError(f"the prompt cannot be rendered: {shown(error)}", place) from error

    def filled(self, values: Mapping[str, object]) -> "_Text":
        """Render now if the template needs no other variables; raises MistakeError."""
        if not self.variables.keys() <= values.keys():
            return self
        try:
            constant = self(values)
        except PromptError as error:
            line = error.place.line if error.place else None
            raise MistakeError(error.message, Place(self.file, line)) from error
        return replace(self, render=lambda _: constant, variables={})


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: messages with variables that a row's columns fill."""

    name: str
    description: str
    variables: Mapping[str, int]
    """The names of its variables, each with the first line that uses it."""
    _turns: tuple[tuple[str, _Text], ...] = field(repr=False)

    def given(self, values: Mapping[str, object]) -> "Prompt":
        """Set variables that are the same for every row; render messages without others now."""
        turns = tuple((role, text.filled(values)) for role, text in self._turns)
        return replace(self, _turns=turns)

    def messages(self, columns: Mapping[str, object]) -> list[dict[str, str]]:
        """Render the messages: system, then examples, then the question; raises PromptError.

        Parts that are the same for all rows come first, for a server's prefix cache.
        """
        return [{"role": role, "content": text(columns)} for role, text in self._turns]


def parse_prompt(name: str, text: str, file: Path) -> Prompt:
    """Parse a prompt: YAML between `---` lines, if any, then a Jinja body; raises MistakeError."""
    matter, body, line = _split(text.replace("\r\n", "\n"), file)
    front = validate(matter, _FrontMatter).value
    if not body.strip():
        raise MistakeError("the prompt has no text; write what to ask", Place(file))
    sources = [("user", body, line)]
    for index in reversed(range(len(front.examples))):
        sources[:0] = [
            (role, getattr(front.examples[index], role), matter.texts["examples", index, role])
            for role in ("user", "assistant")
        ]
    if front.system.strip():
        sources.insert(0, ("system", front.system, matter.texts["system",]))
    turns = tuple((role, _compiled(name, source, file, line)) for role, source, line in sources)
    variables = {name: line for _, turn in reversed(turns) for name, line in turn.variables.items()}
    return Prompt(name, front.description, variables, turns)


def _split(text: str, file: Path) -> tuple[Located, str, int]:
    """Split a file into its front matter and its body, with the line at which the body begins."""
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[0].rstrip() != _FENCE:
        return Located(data={}, file=file, lines={}), "\n".join(lines), 1
    ends = [number for number, line in enumerate(lines) if number and line.rstrip() == _FENCE]
    if not ends:
        problem = f"the front matter that begins here has no closing {_FENCE!r} line"
        raise MistakeError(problem, Place(file, 1))
    matter = "\n".join(lines[1 : ends[0]])
    blank = Located(data={}, file=file, lines={})
    located = parse_yaml(matter, file, start=1) if matter.strip() else blank
    return located, "\n".join(lines[ends[0] + 1 :]), ends[0] + 2


@cache
def _environment() -> "Environment":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """Jinja's sandbox, which limits the size of ranges, and here of products as well."""

        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if _size(operator, left, right) > MAX_CHARACTERS:
                raise OverflowError(f"the result of `{operator}` is too large")
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Models read plain text: `&amp;` would be wrong.
        autoescape=False,
        finalize=_finalize,
    )
    # The same row must always give the same prompt.
    for chance in ("lipsum", "cycler", "joiner"):
        del environment.globals[chance]
    del environment.filters["random"]
    # Jinja's own filter is for HTML, and writes ' as \u0027.
    environment.filters["tojson"] = _to_json
    return environment


def _size(operator: str, left: Any, right: Any) -> int:
    """Return the most that a product can hold: items of a text or list, or bits of a number."""
    if operator == "**":
        return abs(right) * left.bit_length() if isinstance(left, int) else 0
    lengths = [len(side) for side in (left, right) if hasattr(side, "__len__")]
    times = [side for side in (left, right) if isinstance(side, int)]
    return math.prod(lengths + times) if lengths else 0


def _finalize(value: Any) -> Any:
    if type(value) is str:
        return value
    if value is None:
        raise ValueError("a value is null; `{{ name or '' }}` allows that")
    # The text of either would contain a memory address, which differs in each process.
    if callable(value):
        # An undefined variable raises its own error here.
        str(value)
        raise TypeError("a function is no text; call it")
    if isinstance(value, Iterator):
        raise TypeError("what `map` and the like give is no text; end it with `| join(', ')`")
    return value


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _compiled(name: str, source: str, file: Path, line: int) -> _Text:
    """Compile a template that begins at a line of a file; render it now if it has no variables."""
    from jinja2 import Template, TemplateSyntaxError

    if not any(mark in source for mark in ("{{", "{%", "{#")):
        constant = source.strip()
        return _Text(lambda _: constant, name, file, line, {})
    environment = _environment()
    try:
        tree = environment.parse(source, filename=str(file))
        _check(tree, environment, lambda at: Place(file, at + line - 1))
        python, names = _generated(tree, environment)
        code = compile(python, str(file), "exec")
    except TemplateSyntaxError as error:
        place = Place(file, error.lineno + line - 1)
        raise MistakeError(f"not Jinja: {shown(error.message)}", place) from error
    except RecursionError as error:
        raise MistakeError("it is nested too deeply", Place(file)) from error
    template = Template.from_code(environment, code, environment.globals)
    variables = {name: at + line - 1 for name, at in _lines_of(tree).items() if name in names}
    render: Callable[[Mapping[str, object]], str] = partial(_render, template)
    if (found := printed_variables(tree)) is not None:
        render = FastRenderer(found, render)
    return _Text(render, name, file, line, variables).filled({})


def _generated(tree: "nodes.Template", environment: "Environment") -> tuple[str, set[str]]:
    """Turn a template into Python, and find the names that it takes from a row.

    jinja2.meta would find them too, but by doing all of this once more.
    """
    from jinja2.compiler import CodeGenerator, Frame

    names: set[str] = set()

    class Generator(CodeGenerator):
        def enter_frame(self, frame: Frame) -> None:
            super().enter_frame(frame)
            loads = frame.symbols.loads.values()
            names.update(name for action, name in loads if action == "resolve" and name)

    python = StringIO()
    Generator(environment, None, None, python).visit(tree)
    return python.getvalue(), names - environment.globals.keys()


def _render(template: "Template", columns: Mapping[str, object]) -> str:
    try:
        context = template.new_context(dict(columns))
        return "".join(_bounded(template.root_render_func(context))).strip()
    # A template may call any method of a value, which may raise anything.
    except Exception:  # noqa: BLE001 - Jinja raises it again, with the template's lines
        template.environment.handle_exception()


def _bounded(parts: Iterable[str]) -> Iterator[str]:
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_CHARACTERS:
            raise OverflowError(f"it is longer than {MAX_CHARACTERS:,} characters")
        yield part


def _check(tree: "nodes.Template", environment: "Environment", at: Callable[[int], Place]) -> None:
    """Refuse what would fail later, for every row."""
    from jinja2 import nodes

    for node in tree.find_all(nodes.Node):
        match node:
            case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends():
                problem = "a prompt is one file: include, import and extends are not allowed"
            case nodes.Filter(name=name) if name not in environment.filters:
                problem = f"no Jinja filter is called {quoted(name)}" + hint(
                    name, environment.filters
                )
            case nodes.Test(name=name) if name not in environment.tests:
                problem = f"no Jinja test is called {quoted(name)}" + hint(name, environment.tests)
            case nodes.Getattr(attr=name) if name.startswith("__"):
                problem = f"a prompt may not read {quoted(name)}"
            case _:
                continue
        raise MistakeError(problem, at(node.lineno))


def _lines_of(tree: "nodes.Template") -> dict[str, int]:
    """Find the first line that uses each name."""
    from jinja2 import nodes

    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    return lines


def _line_within(traceback: "TracebackType | None", file: str) -> int | None:
    """Find the last line of the template in a traceback."""
    line = None
    while traceback:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
