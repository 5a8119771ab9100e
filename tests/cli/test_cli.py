"""What a person types: mistakes end in one line that names the place, the wrong and the right."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from conftest import CHAT, Folder
from soupstock.cli.main import COMMANDS, main

PIPELINE = "pipelines/mine.yaml"
RUBRIC = "prompts/rubrics/plain.yaml"
SETTINGS = "pyproject.toml"
SAMPLE = CHAT[CHAT.index("  rows: 20") : CHAT.index("steps:")]
FILTER = "import polars as pl\n\n\ndef own(column: str, at_most: int = 3) -> pl.Expr:\n    "
SCHEMA = "from pydantic import BaseModel\n\n\nclass Own(BaseModel):\n    a: "
OWN = ("- score: {column: quality, min: 0.5}", "- own: {column: answer}")

Edit = Callable[[Folder], object]


@pytest.fixture
def project(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Stand in a project whose model `test` is at an address where nothing answers."""
    folder.point_at("http://127.0.0.1:9/v1")
    monkeypatch.chdir(folder.root)
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def the_line(result: Result) -> str:
    """Return what a command that met a mistake said: one line, and nothing else."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.isprintable()
    assert line.startswith("soupstock: ")
    return line.removeprefix("soupstock: ")


def swap(old: str, new: str, name: str = PIPELINE) -> Edit:
    return lambda folder: folder.replace(name, old, new)


def put(name: str, content: str | bytes) -> Edit:
    def edit(folder: Folder) -> None:
        folder.write(name, "").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )

    return edit


def both(*edits: Edit) -> Edit:
    return lambda folder: [edit(folder) for edit in edits]


def unreadable(name: str) -> Edit:
    """Make a file of one that not even root can read."""

    def edit(folder: Folder) -> None:
        path = folder.write(name, "")
        path.unlink()
        path.symlink_to("/proc/self/mem")

    return edit


def a_folder(name: str) -> Edit:
    def edit(folder: Folder) -> None:
        folder.write(name, "").unlink()
        (folder.root / name).mkdir()

    return edit


def own(body: str, head: str = FILTER) -> Edit:
    return both(put("filters/own.py", head + body + "\n"), swap(*OWN))


LAUGHS = "a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)

MISTAKES: dict[str, tuple[Edit, str]] = {
    "an unknown key": (
        swap("prompt: ask", "promt: ask"),
        "pipelines/mine.yaml:10: unknown key 'promt'; did you mean 'prompt'?",
    ),
    "an unknown key that is like no other": (
        swap("source:", "colour: red\nsource:"),
        (
            "pipelines/mine.yaml:2: unknown key 'colour'; "
            "there are: description, models, seed, source, steps, target"
        ),
    ),
    "an unknown verb": (
        swap("generate: question", "generat: question"),
        "pipelines/mine.yaml:8: step 1 has no verb, but 'generat'; did you mean 'generate'?",
    ),
    "an unknown verb that is like no other": (
        swap("generate: question", "publish: question"),
        (
            "pipelines/mine.yaml:8: step 1 has no verb, but 'publish'; there are: converse,"
            " dataset, decontaminate, dedup, filter, generate, judge, mask, review, select, task,"
            " verify"
        ),
    ),
    "two verbs in a step": (
        swap("generate: question", "generate: question\n    judge: quality"),
        (
            "pipelines/mine.yaml:9: step 1 is both 'generate' and 'judge'; "
            "write one of them, or two steps"
        ),
    ),
    "two kinds of source": (
        swap("  rows: 20", "  rows: 20\n  file: seeds.csv"),
        "pipelines/mine.yaml:4: the source is both 'sample' and 'file'; write one of them",
    ),
    "a text for a number": (
        swap("rows: 20", "rows: twenty"),
        "pipelines/mine.yaml:3: rows should be a whole number, not 'twenty'",
    ),
    "true for a number": (
        swap("rows: 20", "rows: true"),
        "pipelines/mine.yaml:3: rows should be a whole number, not true",
    ),
    "a number for a text": (
        swap("models:", "description: 3\nmodels:"),
        (
            "pipelines/mine.yaml:1: description should be text, not 3; "
            "to write it as text, use quotes: '3'"
        ),
    ),
    "a number beyond its limit": (
        swap("prompt: ask", "prompt: ask\n    temperature: 9"),
        "pipelines/mine.yaml:11: temperature should be at most 5, not 9",
    ),
    "no value": (
        swap(CHAT[CHAT.index("steps:") :], "steps:\n"),
        "pipelines/mine.yaml:7: steps should be a list, not nothing",
    ),
    "an empty list": (
        swap("[short, long]", "[]"),
        "pipelines/mine.yaml:6: style should hold 1 or more, not 0",
    ),
    "a word that is none of the choices": (
        swap("  - dataset", "  - dedup: answer\n    method: fuzzy\n  - dataset"),
        "pipelines/mine.yaml:21: method should be 'exact', 'minhash' or 'semantic', not 'fuzzy'",
    ),
    "no rows": (
        swap("  rows: 20\n", ""),
        "pipelines/mine.yaml:2: a sample source needs `rows`, or the pipeline a `target`",
    ),
    "an unknown role": (
        swap("model: writer", "model: writr"),
        "pipelines/mine.yaml:9: no model is called 'writr'; did you mean 'writer'?",
    ),
    "an unknown model": (
        swap("writer: test", "writer: tset"),
        (
            "pipelines/mine.yaml:1: no model is called 'tset'; did you mean 'test'? "
            "(further ones are declared in [tool.soupstock.models.NAME] of pyproject.toml)"
        ),
    ),
    "an unknown prompt": (
        swap("prompt: ask", "prompt: aks"),
        "pipelines/mine.yaml:10: no prompt is called 'aks'; did you mean 'ask'?",
    ),
    "an unknown rubric": (
        swap("rubric: plain", "rubric: plane"),
        "pipelines/mine.yaml:16: no rubric is called 'plane'; did you mean 'plain'?",
    ),
    "an unknown filter": (
        swap("- score:", "- scroe:"),
        "pipelines/mine.yaml:19: no filter is called 'scroe'; did you mean 'score'?",
    ),
    "an unknown schema": (
        swap("dataset: me/mine", "dataset: me/mine\n    schema: Conversatoin"),
        "pipelines/mine.yaml:21: no schema is called 'Conversatoin'; did you mean 'Conversation'?",
    ),
    "a filter's argument that is missing": (
        swap("column: quality, ", ""),
        "pipelines/mine.yaml:19: filter 'score': it needs the argument 'column'",
    ),
    "a filter's argument that it has not": (
        swap("min: 0.5", "mni: 0.5"),
        "pipelines/mine.yaml:19: filter 'score': it has no argument 'mni'; did you mean 'min'?",
    ),
    "a filter's argument of a wrong type": (
        swap("min: 0.5", "min: half"),
        (
            "pipelines/mine.yaml:19: filter 'score': min is 'half', "
            "but the input should be a valid number"
        ),
    ),
    "what is no filter": (
        swap("- score: {column: quality, min: 0.5}", "- 3"),
        (
            "pipelines/mine.yaml:19: a filter is a name, or one name with its arguments: "
            "`length: {column: response}`; '3' is neither"
        ),
    ),
    "a filter on a column that is not there": (
        swap("column: quality", "column: qualty"),
        "pipelines/mine.yaml:19: no column is called 'qualty'; did you mean 'quality'?",
    ),
    "a column that is made twice": (
        swap("generate: answer", "generate: question"),
        "pipelines/mine.yaml:11: there is a column 'question' already; choose another",
    ),
    "a column that the source has": (
        swap("generate: question", "generate: topic"),
        "pipelines/mine.yaml:8: there is a column 'topic' already; choose another",
    ),
    "a reserved column": (
        swap("generate: question", "generate: twin"),
        "pipelines/mine.yaml:8: the column 'twin' is reserved by soupstock; choose another name",
    ),
    "a column with a space": (
        swap("generate: question", "generate: my question"),
        (
            "pipelines/mine.yaml:8: generate should be a name of letters, digits and underscores "
            "that begins with a letter, not 'my question'"
        ),
    ),
    "dedup of a column that is no text": (
        swap("  - dataset", "  - dedup: quality\n  - dataset"),
        (
            "pipelines/mine.yaml:20: 'quality' is not a text; there are: answer, question, style,"
            " topic"
        ),
    ),
    "dedup of a field that is not there": (
        swap("  - dataset", "  - dedup: quality.scor\n  - dataset"),
        "pipelines/mine.yaml:20: no field 'scor' in 'quality.scor'; did you mean 'score'?",
    ),
    "dataset before the end": (
        swap("  - judge", "  - dataset: me/mine\n  - judge"),
        "pipelines/mine.yaml:14: dataset must be the last step",
    ),
    "a dataset's id that is none": (
        swap("me/mine", "me/my set"),
        "pipelines/mine.yaml:20: dataset should be a dataset's id: `my-org/chat`, not 'me/my set'",
    ),
    "several mistakes": (
        both(swap("rows: 20", "rows: 0"), swap("prompt: ask", "promt: ask")),
        "pipelines/mine.yaml:3: rows should be more than 0, not 0 (and 1 more mistake)",
    ),
    "a tab in YAML": (
        swap("  - generate: question", "\t- generate: question"),
        (
            "pipelines/mine.yaml:8: not YAML: while scanning for the next token: found character "
            "'\\t' that cannot start any token "
            "(indent with spaces; put quotes around a text that begins so)"
        ),
    ),
    "a key that comes twice": (
        swap("models:", "seed: 1\nseed: 2\nmodels:"),
        "pipelines/mine.yaml:2: the key 'seed' is already in line 1",
    ),
    "a tag": (
        swap("rows: 20", "rows: !!python/object/apply:os.system [ls]"),
        (
            "pipelines/mine.yaml:3: the tag '!!python/object/apply:os.system' is not allowed; "
            "write plain values"
        ),
    ),
    "aliases without end": (
        put(PIPELINE, LAUGHS),
        "pipelines/mine.yaml: it holds more than 100,000 values, aliases included",
    ),
    "lists in lists": (
        put(PIPELINE, "a: " + "[" * 2000),
        "pipelines/mine.yaml: it is nested too deeply",
    ),
    "YAML that is not UTF-8": (
        put(PIPELINE, b"seed: 1\ndescription: caf\xe9\n"),
        "pipelines/mine.yaml:2: it is not UTF-8 text",
    ),
    "an empty pipeline": (put(PIPELINE, "# later\n"), "pipelines/mine.yaml: it is empty"),
    "a pipeline that is a list": (
        put(PIPELINE, "- generate: x\n"),
        "pipelines/mine.yaml: it should be a mapping (`key: value`), not a list",
    ),
    "a folder in place of a pipeline": (
        a_folder(PIPELINE),
        "no pipeline is called 'mine'; …",
    ),
    "a pipeline that cannot be read": (
        unreadable(PIPELINE),
        "pipelines/mine.yaml: it cannot be read: Input/output error",
    ),
    "a hostile key": (
        swap("models:", '"\\e[2Jmodles": 1\nmodels:'),
        "pipelines/mine.yaml:1: unknown key '\\x1b[2Jmodles'; did you mean 'models'?",
    ),
    "a hostile name": (
        swap("rubric: plain", 'rubric: "plain\\u202e\\nx"'),
        (
            "pipelines/mine.yaml:16: rubric should be a name of letters, digits, `_`, `.` and `-`, "
            "with `/` between folders, not 'plain\\u202e\\nx'"
        ),
    ),
    "a name that leads out of its folder": (
        swap("prompt: ask", "prompt: ../../etc/passwd"),
        (
            "pipelines/mine.yaml:10: prompt should be a name of letters, digits, `_`, `.` and `-`, "
            "with `/` between folders, not '../../etc/passwd'"
        ),
    ),
    "a prompt's unknown key": (
        put("prompts/ask.md", "---\ndescription: Ask.\nsytem: Be kind.\n---\nhello"),
        "prompts/ask.md:3: unknown key 'sytem'; did you mean 'system'?",
    ),
    "a prompt's front matter without end": (
        put("prompts/ask.md", "---\nsystem: Be kind.\nhello"),
        "prompts/ask.md:1: the front matter that begins here has no closing '---' line",
    ),
    "a prompt's broken front matter": (
        put("prompts/ask.md", "---\ndescription: Ask.\nsystem: Be: kind\n---\nhello"),
        (
            "prompts/ask.md:3: not YAML: mapping values are not allowed here "
            "(put quotes around a text that contains `: `)"
        ),
    ),
    "a prompt's broken template": (
        put("prompts/ask.md", "---\nsystem: Be kind.\n---\nAbout\n{% if topic %}this"),
        (
            "prompts/ask.md:5: not Jinja: Unexpected end of template. Jinja was looking for the "
            "following tags: 'elif' or 'else' or 'endif'. "
            "The innermost block that needs to be closed is 'if'."
        ),
    ),
    "a prompt's broken system message": (
        put("prompts/ask.md", "---\nsystem: |\n  Be kind.\n  {{ topic }\n---\nhello"),
        "prompts/ask.md:4: not Jinja: unexpected '}'",
    ),
    "a variable that is no column": (
        put("prompts/ask.md", "Ask.\n\nAbout {{ topc }}."),
        (
            "pipelines/mine.yaml:10: the prompt (prompts/ask.md:3) uses 'topc', "
            "which does not exist at this step; did you mean 'topic'?"
        ),
    ),
    "a variable that a later step makes": (
        put("prompts/ask.md", "About {{ answer }}."),
        (
            "pipelines/mine.yaml:10: the prompt (prompts/ask.md:1) uses 'answer', "
            "which does not exist at this step; there are: style, topic"
        ),
    ),
    "a variable that a judge's prompt has not": (
        put("prompts/judge.md", "{{ rubrik }}"),
        (
            "pipelines/mine.yaml:16: the prompt (prompts/judge.md:1) uses 'rubrik', "
            "which does not exist at this step; did you mean 'rubric'?"
        ),
    ),
    "a Jinja filter that there is not": (
        put("prompts/ask.md", "{% if topic %}{{ topic | uper }}{% endif %}"),
        "prompts/ask.md:1: no Jinja filter is called 'uper'; did you mean 'upper'?",
    ),
    "a way out of the sandbox": (
        put("prompts/ask.md", "{{ topic.__class__.__mro__ }}"),
        "prompts/ask.md:1: a prompt may not read '__mro__'",
    ),
    "an empty prompt": (
        put("prompts/ask.md", "---\nsystem: Be kind.\n---\n\n"),
        "prompts/ask.md: the prompt has no text; write what to ask",
    ),
    "a prompt that is not UTF-8": (
        put("prompts/ask.md", b"Ask.\ncaf\xe9"),
        "prompts/ask.md:2: it is not UTF-8 text",
    ),
    "a prompt that cannot be read": (
        unreadable("prompts/ask.md"),
        "prompts/ask.md: it cannot be read: Input/output error",
    ),
    "a folder in place of a prompt": (
        a_folder("prompts/ask.md"),
        (
            "pipelines/mine.yaml:10: no prompt is called 'ask'; "
            "there are: chat/instruction, chat/response, compare, …"
        ),
    ),
    "a rubric's unknown key": (
        swap("weight: 3", "wieght: 3", RUBRIC),
        "prompts/rubrics/plain.yaml:4: unknown key 'wieght'; did you mean 'weight'?",
    ),
    "a rubric with one level": (
        swap("[rude, kind]", "[rude]", RUBRIC),
        "prompts/rubrics/plain.yaml:4: levels should hold 2 or more, not 1",
    ),
    "a rubric with numbers for levels": (
        swap("[rude, kind]", "[1, kind]", RUBRIC),
        (
            "prompts/rubrics/plain.yaml:4: item 1 of levels should be text, not 1; "
            "to write it as text, use quotes: '1'"
        ),
    ),
    "a rubric's column that is not there": (
        swap("[question, answer]", "[question, anwser]", RUBRIC),
        (
            "pipelines/mine.yaml:16: no column is called 'anwser' (the rubric plain shows it); "
            "did you mean 'answer'?"
        ),
    ),
    "a rubric's prompt that there is not": (
        swap("columns:", "prompt: jugde\ncolumns:", RUBRIC),
        "pipelines/mine.yaml:16: no prompt is called 'jugde'; did you mean 'judge'?",
    ),
    "an empty rubric": (put(RUBRIC, ""), "prompts/rubrics/plain.yaml: it is empty"),
    "a filter that raises when it is imported": (
        put("filters/own.py", "LIMITS = {}\n\nMOST = LIMITS['most\\x1b[2J']\n"),
        "filters/own.py:3: it cannot be imported: KeyError: 'most\\x1b[2J'",
    ),
    "a filter that ends the process when it is imported": (
        put("filters/own.py", "import sys\n\nsys.exit('enough')\n"),
        "filters/own.py:3: it cannot be imported: SystemExit: enough",
    ),
    "a filter that raises what is no Exception": (
        put("filters/own.py", "class Odd(BaseException): ...\n\n\nraise Odd\n"),
        "filters/own.py:4: it cannot be imported: Odd: ",
    ),
    "a filter that is not Python": (
        put("filters/own.py", "import polars as pl\n\ndef own(:\n"),
        "filters/own.py:3: not Python: invalid syntax",
    ),
    "a filter that imports what there is not": (
        put("filters/own.py", "\nimport no_such_module\n"),
        (
            "filters/own.py:2: it cannot be imported: "
            "ModuleNotFoundError: No module named 'no_such_module'"
        ),
    ),
    "a filter that is not UTF-8": (
        put("filters/own.py", b"# coding: latin-1\nNAME = 'caf\xe9'\n"),
        "filters/own.py:2: it is not UTF-8 text",
    ),
    "a filter that cannot be read": (
        unreadable("filters/own.py"),
        "filters/own.py: it cannot be read: Input/output error",
    ),
    "a filter in a file that cannot be imported by its name": (
        put("filters/my-own.py", ""),
        "filters/my-own.py: rename it: a Python file's name is letters, digits and underscores",
    ),
    "two filters of one name": (
        both(
            put("filters/one.py", FILTER + "return pl.col(column).is_null()\n"),
            put("filters/two.py", FILTER + "return pl.col(column).is_null()\n"),
        ),
        "filters/two.py:4: 'own' is already defined in filters/one.py:4",
    ),
    "a filter that gives no expression": (
        own("return len(column) > 3"),
        "pipelines/mine.yaml:19: filter 'own': it returns bool, not a polars expression",
    ),
    "a filter that is a coroutine": (
        own("return 1", FILTER.replace("def", "async def")),
        "pipelines/mine.yaml:19: filter 'own': it returns coroutine, not a polars expression",
    ),
    "a filter that raises": (
        own("raise KeyError('\\x1b[2J')"),
        "pipelines/mine.yaml:19: filter 'own': it raised KeyError: '\\x1b[2J'",
    ),
    "a filter that ends the process": (
        own("raise SystemExit(7)"),
        "pipelines/mine.yaml:19: filter 'own': it raised SystemExit: 7",
    ),
    "a filter that holds Python": (
        own("return pl.col(column).map_elements(bool, return_dtype=pl.Boolean)"),
        (
            "pipelines/mine.yaml:19: filter 'own': it contains a Python function (map_elements, "
            "map_batches), which cannot be sent to another process; "
            "write it with polars expressions alone"
        ),
    ),
    "a filter that gives numbers": (
        own("return pl.col(column).str.len_chars()"),
        "pipelines/mine.yaml:19: filter 'own': it returns UInt32, not true or false",
    ),
    "a filter that gives one value for all rows": (
        own("return pl.col(column).is_null().all()"),
        "pipelines/mine.yaml:19: filter 'own': it returns 1 values for 0 rows",
    ),
    "a filter with a broken pattern": (
        own("return pl.col(column).str.contains('(')"),
        (
            "pipelines/mine.yaml:19: filter 'own': "
            "regex error: regex parse error: ( ^ error: unclosed group"
        ),
    ),
    "a filter with an annotation that cannot be evaluated": (
        own("return pl.col(column) > at_most", FILTER.replace("int", "'1 / 0'")),
        "pipelines/mine.yaml:19: filter 'own': cannot compare string with numeric type (i32)",
    ),
    "a schema that raises when it is imported": (
        both(
            put("schemas/own.py", "raise ValueError('not yet')\n"),
            swap("me/mine", "me/mine\n    schema: Own"),
        ),
        "schemas/own.py:1: it cannot be imported: ValueError: not yet",
    ),
    "a schema that is no table": (
        both(
            put("schemas/own.py", f"{SCHEMA}dict[str, int]\n"),
            swap("prompt: ask", "prompt: ask\n    schema: Own"),
        ),
        (
            "pipelines/mine.yaml:11: the schema Own cannot be a table: "
            "a has no fixed type; use text, numbers, lists and models"
        ),
    ),
    "a schema with a name that is not defined": (
        both(
            put("schemas/own.py", f"{SCHEMA}'Nothing'\n"),
            swap("prompt: ask", "prompt: ask\n    schema: Own"),
        ),
        (
            "pipelines/mine.yaml:11: the schema Own cannot be used: `Own` is not fully defined; "
            "you should define `Nothing`, then call `Own.model_rebuild()`."
        ),
    ),
    "a source that is not there": (
        swap(SAMPLE, "  file: seeds.csv\n"),
        "pipelines/mine.yaml:3: there is no file 'seeds.csv' in {root}",
    ),
    "a source of another kind": (
        both(swap(SAMPLE, "  file: seeds.txt\n"), put("seeds.txt", "a")),
        "pipelines/mine.yaml:3: 'seeds.txt' should be one of these: .jsonl, .csv, .parquet",
    ),
    "a broken line in a source": (
        both(
            swap(SAMPLE, "  file: seeds.jsonl\n"), put("seeds.jsonl", '{"topic": "a"}\n{"topic"\n')
        ),
        "seeds.jsonl:2: this line is not JSON: unexpected end of data",
    ),
    "a ragged row in a source": (
        both(swap(SAMPLE, "  file: seeds.csv\n"), put("seeds.csv", "topic,style\na,b\na,b,c\n")),
        "seeds.csv:3: this row has 3 fields, and the header has 2",
    ),
    "a source without rows": (
        both(swap(SAMPLE, "  file: seeds.csv\n"), put("seeds.csv", "topic,style\n")),
        "seeds.csv: it has no rows",
    ),
    "a broken Parquet file": (
        both(swap(SAMPLE, "  file: seeds.parquet\n"), put("seeds.parquet", "PAR1")),
        (
            "seeds.parquet: it cannot be read: parquet: File out of specification: "
            "A Parquet file must contain a header and footer with at least 12 bytes"
        ),
    ),
    "a dataset's folder that is not there": (
        swap(SAMPLE, "  dataset: ./seeds\n"),
        "pipelines/mine.yaml:3: there is no folder './seeds' in {root}",
    ),
    "broken TOML": (
        put(SETTINGS, "[tool.soupstock]\nmodels = \n"),
        "pyproject.toml:2: not TOML: Invalid value",
    ),
    "an unknown setting": (
        put(SETTINGS, "[tool.soupstock]\nmodles = 3\n"),
        "pyproject.toml:2: unknown key 'modles'; did you mean 'models'?",
    ),
    "an unknown key of a model": (
        put(SETTINGS, "[tool.soupstock.models.test]\nmodel = 'a'\napi_key = 'sk-4711'\n"),
        "pyproject.toml:3: unknown key 'api_key'; did you mean 'api_key_env'?",
    ),
    "a key in the place of its variable": (
        put(SETTINGS, "[tool.soupstock.models.test]\napi_key_env = 'sk-4711'\n"),
        (
            "pyproject.toml:2: api_key_env should be the name of an environment variable, "
            "such as OPENAI_API_KEY, never the key itself"
        ),
    ),
    "an address that is none": (
        put(SETTINGS, "[tool.soupstock.models.test]\nbase_url = 'localhost:8000'\n"),
        (
            "pyproject.toml:2: base_url should be like `http://localhost:8000/v1`, "
            "not 'localhost:8000'"
        ),
    ),
    "a setting of a wrong type": (
        put(SETTINGS, "[tool.soupstock.models.test]\ninput_price = 'cheap'\n"),
        "pyproject.toml:2: input_price should be a number, not 'cheap'",
    ),
    "settings that cannot be read": (
        unreadable(SETTINGS),
        "pyproject.toml: it cannot be read: Input/output error",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file_is_one_line_that_says_what_would_be_right(
    project: Folder, mistake: str
) -> None:
    edit, expected = MISTAKES[mistake]
    edit(project)
    said = the_line(invoke("plan", "mine"))
    whole, cut, _ = expected.replace("{root}", str(project.root)).partition("…")
    assert said.startswith(whole) if cut else said == whole


FLAGS = {
    ("plan", "mnie"): "no pipeline is called 'mnie'; did you mean 'mine'?",
    ("plan", "\x1b[2J"): "no pipeline is called '\\x1b[2J'; there are: chat, ",
    ("plan", "none.yaml"): "none.yaml: it cannot be read: No such file or directory",
    ("plan", "a" * 999 + ".yaml"): "a" * 999 + ".yaml: it cannot be read: File name too long",
    ("plan", "mine", "--rowz", "3"): "No such option '--rowz'. Did you mean '--rows'?",
    ("plan", "mine", "--rows", "few"): (
        "Invalid value for '--rows': 'few' is not a valid integer range."
    ),
    ("plan", "mine", "--rows", "0"): "Invalid value for '--rows': 0 is not in the range x>=1.",
    ("plan", "mine", "--rows", "9" * 30): (
        f"rows should be from 1 to 1,000,000,000,000, not {'9' * 30}"
    ),
    ("plan", "mine", "--model", "writer"): "--model writer is not ROLE=MODEL",
    ("plan", "mine", "--model", "writr=test"): "no role is called 'writr'; did you mean 'writer'?",
    ("plan", "mine", "--model", "writer=\x1b[2J"): (
        "no model is called '\\x1b[2J'; there are: embedded, openai/NAME, test, vllm/NAME"
        " (further ones are declared in [tool.soupstock.models.NAME] of pyproject.toml)"
    ),
    ("run", "mine", "--max-cost", "nan"): "--max-cost should be a number of US dollars, not nan",
    ("run", "mine", "--max-cost", "1"): (
        "--max-cost needs the prices of test (writer): "
        "set input_price and output_price in [tool.soupstock.models]"
    ),
    ("paln", "mine"): "no command is called 'paln'; did you mean 'plan'?",
    ("verify", "mine"): "no command is called 'verify'; there are: cache, calibrate, diff, explain,"
    " init, list, mix, models, overlap, plan, preview, prune, publish, reproduce, review, run,"
    " tasks",
    ("plan",): "Missing argument 'NAME'.",
    ("plan", "mine", "yours"): "Got unexpected extra argument (yours)",
    ("explain", "mnie", "0123"): "no pipeline is called 'mnie'; did you mean 'mine'?",
    ("explain", "mine", "0123"): "mine has not been run yet: soupstock run mine",
    ("--project", "/none", "list"): (
        "Invalid value for '--project': Directory '/none' does not exist."
    ),
    ("init", "."): ". is not empty: ",
}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", FLAGS, ids=" ".join)
def test_a_mistake_on_the_command_line_is_one_line(arguments: tuple[str, ...]) -> None:
    assert the_line(invoke(*arguments)).startswith(FLAGS[arguments])


def test_an_address_or_a_key_that_could_be_secret_is_never_shown(project: Folder) -> None:
    for line in (
        "base_url = 'http://me:hunter2@localhost/v1'",
        "base_url = 'me:hunter2@localhost/v1'",
        "base_url = 'https://example.org/v1?key=hunter2'",
        "api_key_env = 'hunter2'",
        'headers = { Authorization = "hunter2\\n" }',
    ):
        project.write(SETTINGS, f"[tool.soupstock.models.test]\n{line}\n")
        said = the_line(invoke("plan", "mine"))
        assert said.startswith("pyproject.toml:2: ")
        assert "hunter2" not in said


def soupstock(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command itself, as a person does."""
    program = Path(sys.executable).with_name("soupstock")
    return subprocess.run(  # noqa: S603 - our own command
        [program, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_mistake_ends_the_process_with_2_and_without_a_traceback(project: Folder) -> None:
    project.replace(PIPELINE, "prompt: ask", "prompt: aks")
    ended = soupstock(project.root, "plan", "mine")
    assert ended.returncode == 2
    assert ended.stdout == ""
    expected = "pipelines/mine.yaml:10: no prompt is called 'aks'; did you mean 'ask'?"
    assert ended.stderr == f"soupstock: {expected}\n"


def test_planning_writes_nothing_into_the_project(project: Folder) -> None:
    project.write("filters/own.py", FILTER + "return pl.col(column).str.len_chars() > at_most\n")
    project.write("schemas/own.py", "from pydantic import BaseModel\n")
    project.replace(PIPELINE, *OWN)
    before = sorted(project.root.rglob("*"))
    ended = soupstock(project.root, "plan", "mine")
    assert ended.returncode == 0, ended.stderr
    assert "filters/own.py" in ended.stdout
    assert sorted(project.root.rglob("*")) == before


def test_installed_packages_of_the_folders_names_do_no_harm(
    project: Folder, tmp_path: Path
) -> None:
    for name in ("filters", "schemas", "prompts", "pipelines"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    project.write("filters/own.py", FILTER + "return pl.col(column).str.len_chars() > at_most\n")
    project.replace(PIPELINE, *OWN)
    ended = soupstock(project.root, "plan", "mine", PYTHONPATH=str(tmp_path / "site"))
    assert ended.returncode == 0, ended.stderr


def test_a_plan_that_goes_to_a_closed_pipe_ends_without_a_traceback(project: Folder) -> None:
    program = Path(sys.executable).with_name("soupstock")
    shell = shutil.which("bash")
    assert shell
    ended = subprocess.run(  # noqa: S603 - our own command
        [shell, "-c", f"'{program}' plan mine | true"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""


@pytest.mark.usefixtures("project")
def test_without_a_command_the_help_is_shown() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "soupstock init my-data" in result.output
    assert invoke("--help").exit_code == 0


@pytest.mark.usefixtures("project")
def test_the_help_lists_every_command_with_what_it_does() -> None:
    lines = invoke("--help").output.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    told = {name: does for name, _, does in (line.strip().partition(" ") for line in lines)}
    assert all(does.strip() and not does.endswith("...") for does in told.values())
    assert list(told) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_says_its_defaults(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    options = [one for one in command.params if isinstance(one, click.Option)]
    for option in options:
        assert option.help
        if isinstance(option.default, int | float) and not option.is_flag:
            assert f"Default: {option.default:g}." in option.help


@pytest.mark.usefixtures("project")
def test_pipelines_are_listed_by_name() -> None:
    names = invoke("list", "--names").output.splitlines()
    assert {"chat", "mine"} <= set(names)
    assert names == sorted(names)
    listed = invoke("list")
    assert listed.exit_code == 0
    assert "mine" in listed.output


def test_a_broken_pipeline_is_listed_with_its_fault(project: Folder) -> None:
    project.write("pipelines/bad.yaml", '"\\e[2J": 1\n')
    listed = invoke("list")
    assert listed.exit_code == 0
    assert "\x1b" not in listed.output
    assert "unknown key" in listed.output


def test_a_plan_shows_hostile_names_without_control_characters(project: Folder) -> None:
    row = json.dumps({"topic": "a", "style": "b", "x\u202ey": 1}, ensure_ascii=False)
    project.replace(PIPELINE, SAMPLE, "  file: seeds.jsonl\n")
    project.write("seeds.jsonl", row + "\n")
    assert the_line(invoke("plan", "mine")) == (
        "seeds.jsonl: 'x\\u202ey' is not a valid column name"
    )


@pytest.mark.usefixtures("project")
def test_another_model_and_fewer_rows_are_one_flag_each() -> None:
    shown = invoke("plan", "mine", "--model", "writer=openai/gpt-5-mini", "--rows", "7")
    assert shown.exit_code == 0
    assert "mine: 7 rows" in shown.output
    assert "writer: openai/gpt-5-mini" in shown.output
    assert "judge: test" in shown.output
