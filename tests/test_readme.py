"""README and docs name packages, files, commands and make targets that exist."""

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from soupstock.cli.main import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PACKAGES = ROOT / "src" / "soupstock"
PAGES = sorted(
    path
    for path in (README, ROOT / "CONTRIBUTING.md", DOCS / "notebook.ipynb", *DOCS.rglob("*.md"))
    if path.is_file()
)


@cache
def text_of(page: Path) -> str:
    """Return the page's text: of a notebook, that of its Markdown cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def caption(package: Path) -> str:
    """Return the first sentence of a package's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert docstring, f"{package} has no docstring: say what the package is for"
    return " ".join(docstring.split("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."


def packages() -> list[Path]:
    return sorted({path.parent for path in PACKAGES.rglob("__init__.py")} - {PACKAGES})


@pytest.mark.parametrize("package", packages(), ids=name)
def test_the_readme_names_each_package_with_its_caption(package: Path) -> None:
    depth = len(package.relative_to(PACKAGES).parts)
    line = rf"^{'  ' * depth}{package.name}/ +{re.escape(caption(package))}"
    assert re.search(line, text_of(README), re.MULTILINE), line


def test_the_readme_names_no_package_or_module_that_does_not_exist() -> None:
    _, _, tree = text_of(README).partition("## What is where")
    folders: list[str] = []
    for indent, entry in re.findall(r"^( *)([\w./]+/|\w+\.py) {2,}\S", tree, re.MULTILINE):
        folders[len(indent) // 2 :] = [entry]
        assert (ROOT / "".join(folders)).exists(), "".join(folders)
    assert folders


FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return FENCE.sub("", text_of(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_links_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^()\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def shown(page: Path) -> Iterator[list[str]]:
    """Yield the words of each soupstock and make command that a page shows, in blocks and prose."""
    for language, block in FENCE.findall(text_of(page)):
        for line in block.splitlines():
            if language == "console" and line.startswith("$ "):
                yield from commands_in(line.removeprefix("$ "))
            elif language in {"bash", "sh"}:
                yield from commands_in(line)
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        yield from commands_in(code)


def commands_in(line: str) -> Iterator[list[str]]:
    """Yield the words of the soupstock and make commands of a line that may join several."""
    for command in re.split(r"&&|\|", line):
        try:
            words = shlex.split(command, comments=True)
        except ValueError:  # an apostrophe: no command
            continue
        if len(words) > 1 and words[0] in {"soupstock", "make"}:
            yield words


def mistake(words: list[str], targets: set[str]) -> str | None:
    """Return what does not exist in a command: a make target, a command of ours or its option."""
    program, first, *rest = words
    if program == "make":
        return None if first in targets or "=" in first else f"make {first}"
    context = click.Context(main)
    command = main.get_command(context, first)
    if command is None:
        return None if first.startswith("-") else f"soupstock {first}"
    known = {option for parameter in command.params for option in parameter.opts}
    known |= set(context.help_option_names)
    asked = {word.partition("=")[0] for word in rest if re.match(r"-{1,2}[a-z]", word)}
    return f"soupstock {first} {' '.join(sorted(asked - known))}" if asked - known else None


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_shows_commands_that_exist(page: Path) -> None:
    targets = make_targets()
    assert not [found for words in shown(page) if (found := mistake(words, targets))]


def test_the_readme_shows_commands() -> None:
    # If none were found, the test above could not fail.
    assert {("soupstock", "run"), ("soupstock", "publish"), ("make", "pipeline")} <= {
        (program, first) for program, first, *_ in shown(README)
    }


def python_names(page: Path) -> Iterator[str]:
    """Yield the dotted names of our modules, classes and functions that a page shows."""
    yield from re.findall(r"(?<![\w.])soupstock(?:\.\w+)+", prose(page))
    for language, block in FENCE.findall(text_of(page)):
        # What begins with a file's name is to be written into that file.
        if language != "python" or re.match(r"# \S+\.py\b", block):
            continue
        for node in ast.walk(ast.parse(block)):
            match node:
                case ast.ImportFrom(module=str(module), names=names) if "soupstock" in module:
                    yield from (f"{module}.{alias.name}" for alias in names)
                case ast.Attribute(value=ast.Name(id="testing"), attr=attribute):
                    yield f"soupstock.testing.{attribute}"
                case _:
                    pass


def exists(dotted: str) -> bool:
    """Say whether a name is a module, or something in one."""
    parent, _, last = dotted.rpartition(".")
    if not parent or hasattr(importlib.import_module(parent), last):
        return True
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_shows_python_names_that_exist(page: Path) -> None:
    files = ("json", "yaml", "toml", "py")
    names = [name for name in python_names(page) if name.rpartition(".")[2] not in files]
    assert not [name for name in names if not exists(name)]


def test_a_page_shows_extras_that_exist_and_the_guide_names_them_all() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    named = {page: set(re.findall(r"soupstock\[(\w+)\]", text_of(page))) for page in PAGES}
    assert not {name(page): found - extras for page, found in named.items() if found - extras}
    assert named[DOCS / "guide.md"] == extras
