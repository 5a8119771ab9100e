"""Imports run one way, and the command line is light until it has something to do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from soupstock.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "soupstock"
ORDER = (
    *("api", "cli", "training", "dataset", "runs", "engine", "reports", "steps", "review"),
    *("rewards", "project", "judging", "inference", "inference.servers", "rows", "artifacts"),
    *("text", "similarity", "spec", "stats", "testing", "errors"),
)
"""The packages, from the top: each imports those after it, and none before it."""

COMING = frozenset({"training"})
"""Packages that have their place, and nothing in it yet."""


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what code imports, at the top and within functions: a module, and a name from it.

    What is there for the type checker alone does not count.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, "") for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((module, alias.name) for alias in names)
            case _:
                pass
        yield from imports(node)


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@cache
def graph() -> dict[str, frozenset[str]]:
    """Return for each of the package's modules those that it imports."""
    files = [path for path in SOURCE.rglob("*.py") if "template" not in path.parts]
    files.remove(SOURCE / "__init__.py")
    modules = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    found: dict[str, frozenset[str]] = {}
    for name, tree in modules.items():
        asked = {
            candidate.removeprefix("soupstock").lstrip(".")
            for module, thing in imports(tree)
            if module.partition(".")[0] == "soupstock"
            for candidate in (f"{module}.{thing}", module)
        }
        found[name] = frozenset(asked & modules.keys() - {name, ""})
    return found


def reached(module: str) -> set[str]:
    """Return all modules that importing one leads to."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for further in graph()[waiting.pop()] - seen:
            seen.add(further)
            waiting.append(further)
    return seen


def test_no_two_modules_import_each_other() -> None:
    try:
        order = list(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")
    assert order.index("errors") < order.index("cli.main")


def package_of(module: str) -> str:
    """Return the package of ORDER that a module belongs to: the longest name it begins with."""
    known = [name for name in ORDER if module == name or module.startswith(f"{name}.")]
    assert known, f"{module} stands nowhere: say where in ORDER"
    return max(known, key=len)


def test_every_module_stands_somewhere_in_the_order_and_every_package_holds_something() -> None:
    assert {package_of(module) for module in graph()} == set(ORDER) - COMING


@pytest.mark.parametrize("package", sorted(set(ORDER) - COMING))
def test_a_package_imports_only_those_below_it(package: str) -> None:
    arrows = [
        (module, found)
        for module, imported in graph().items()
        if package_of(module) == package
        for found in imported
    ]
    below = ORDER[ORDER.index(package) :]
    assert not [arrow for arrow in arrows if package_of(arrow[1]) not in below]


def test_the_command_line_leads_to_everything_that_it_should() -> None:
    # If this graph were empty, the other tests here could not fail. Commands are imported by name.
    commands = {f"cli.{place.partition(':')[0]}" for place in COMMANDS.values()}
    assert set(ORDER) - COMING - {"api", "rewards", "testing"} <= {
        package_of(module) for command in commands for module in reached(command)
    } | {"cli"}
    assert {"steps.generate", "steps.judge", "steps.filter", "steps.dedup"} <= reached("runs.run")


VERBS = frozenset(
    {"generate", "task", "converse", "verify", "judge", "filter", "mask", "dedup"}
    | {"decontaminate", "select", "review", "dataset"}
)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_knows_no_other_verb(verb: str) -> None:
    assert not reached(f"steps.{verb}") & {f"steps.{name}" for name in VERBS - {verb}}


FORBIDDEN = {
    "spec": {"polars", "pyarrow", "aiohttp"},
    "similarity": {"aiohttp"},
    "text": {"aiohttp"},
    "stats": {"aiohttp"},
    "dataset": {"soupstock.inference.client"},
    "reports": {"soupstock.inference.client"},
}
"""What the modules of a package do not import by themselves."""


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_a_package_does_not_know_what_is_none_of_its_business(package: str) -> None:
    for path in sorted((SOURCE / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not {module for module, _ in imports(tree)} & FORBIDDEN[package], path


PIPELINES = ("dataset", "fields", "generation", "judging", "pipeline", "pruning", "source")


@pytest.mark.parametrize("module", PIPELINES)
def test_a_pipeline_as_data_knows_no_files(module: str) -> None:
    tree = ast.parse((SOURCE / "spec" / f"{module}.py").read_text(encoding="utf-8"))
    assert "pathlib" not in {name for name, _ in imports(tree)}


@pytest.mark.parametrize("folder", ["filters", "schemas", "src/soupstock/project/template"])
def test_what_a_user_writes_imports_polars_and_pydantic_and_never_the_engine(folder: str) -> None:
    allowed = {"polars", "pydantic"} | sys.stdlib_module_names
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert {module.partition(".")[0] for module, _ in imports(tree)} <= allowed, path


HEAVY = frozenset(
    {"aiohttp", "asyncio", "datasets", "jinja2", "numpy", "openai", "polars", "pyarrow", "pydantic"}
    | {"orjson", "rich.table", "ruamel.yaml", "sqlite3"}
)


def loaded_by(code: str) -> set[str]:
    shown = f"{code}\nimport sys\nprint(*sys.modules)"
    ended = subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True
    )
    return set(ended.stdout.splitlines()[-1].split())


def test_the_command_line_imports_nothing_heavy_before_it_has_something_to_do() -> None:
    loaded = loaded_by("import soupstock.cli.main")
    assert "soupstock.errors" in loaded
    assert not loaded & HEAVY


def test_help_imports_nothing_heavy_and_no_other_command() -> None:
    code = (
        "from soupstock.cli.main import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass"
    )
    loaded = loaded_by(code)
    assert "soupstock.cli.run" in loaded
    assert not loaded & (HEAVY | {"soupstock.cli.datasets", "soupstock.cli.project"})


def test_the_list_of_commands_imports_nothing_heavy() -> None:
    code = "from soupstock.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = loaded_by(code)
    assert {f"soupstock.cli.{place.partition(':')[0]}" for place in COMMANDS.values()} <= loaded
    assert not loaded & HEAVY


def test_planning_imports_no_client_and_no_datasets() -> None:
    loaded = loaded_by("import soupstock.engine.plan")
    assert "polars" in loaded
    assert not loaded & {
        "aiohttp",
        "datasets",
        "openai",
        "soupstock.runs.run",
        "soupstock.inference.client",
    }
