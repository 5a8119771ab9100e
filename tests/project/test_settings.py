"""What pyproject.toml says of models is read, or a mistake names its line; keys are never in it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.errors import MistakeError
from soupstock.inference.servers.endpoint import Endpoint
from soupstock.inference.servers.model import resolve
from soupstock.inference.servers.vllm import Vllm
from soupstock.project.settings import has_settings, read_settings


def models_in(folder: Path, text: str) -> dict[str, Endpoint | Vllm]:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return dict(read_settings(folder).models)


def mistake_in(folder: Path, text: str) -> str:
    with pytest.raises(MistakeError) as caught:
        models_in(folder, text)
    said = str(caught.value)
    assert said.isprintable()
    return said.partition("pyproject.toml")[2]


def test_models_are_read_with_everything_that_they_have(tmp_path: Path) -> None:
    text = """\
[project]
name = "mine"

[tool.soupstock.models.local]
base_url = "http://localhost:8000/v1"
model = "Qwen/Qwen3-8B"
api_key_env = "LOCAL_API_KEY"
revision = 2026-01-02
concurrency = 8
input_price = 1
headers = { X-Team = "data" }

[tool.soupstock.models."Qwen/Qwen3-8B"]
extra = { chat_template_kwargs = { enable_thinking = false } }
"""
    assert models_in(tmp_path, text) == {
        "local": Endpoint(
            base_url="http://localhost:8000/v1",
            model="Qwen/Qwen3-8B",
            api_key_env="LOCAL_API_KEY",
            revision="2026-01-02",
            concurrency=8,
            input_price=1.0,
            headers={"X-Team": "data"},
        ),
        "Qwen/Qwen3-8B": Endpoint(extra={"chat_template_kwargs": {"enable_thinking": False}}),
    }


@pytest.mark.parametrize(
    "text", ["", "[project]\nname = 'x'\n", "[tool.soupstock]\n", "tool = 3\n"]
)
def test_without_models_there_are_none(tmp_path: Path, text: str) -> None:
    assert models_in(tmp_path, text) == {}


def test_a_folder_without_the_file_has_no_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path).models == {}
    assert not has_settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[tool.soupstock]\n", True),
        ("[tool]\nsoupstock.models.a.model = 'x'\n", True),
        ("[tool.other]\n", False),
        ("[tool.soupstock\n", True),
        ("[tool.soup\n", False),
    ],
)
def test_a_folder_with_the_table_is_a_project_even_when_the_file_is_broken(
    tmp_path: Path, text: str, *, found: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert has_settings(tmp_path) is found


MODEL = "[tool.soupstock.models.a]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.soupstock\n", ":1: not TOML: Expected ']' at the end of a table declaration"),
        ("a = 1\na = 2\n", ":2: not TOML: Cannot overwrite a value"),
        ("[tool]\nsoupstock = 3\n", ":2: soupstock should be a table, [tool.soupstock], not '3'"),
        (
            "[[tool.soupstock.models]]\n",
            ":1: models should be a mapping (`key: value`), not",
        ),
        ("[tool]\nsoupstock.models.a.colour = 1\n", ":2: unknown key 'colour'; there are: api_key"),
        (
            "[tool.soupstock]\nmodels = {a = {colour = 1}}\n",
            ":2: unknown key 'colour'; there are: ",
        ),
        ("[tool.soupstock.models.'a b']\n", ":1: the key 'a b' should be a model's name, without"),
        (MODEL + "timeout = inf\n", ":2: timeout should be a number, not inf"),
        (MODEL + "concurrency = 0\n", ":2: concurrency should be more than 0, not 0"),
        (MODEL + "headers = { a = 1 }\n", ":2: a should be text, not 1"),
        (MODEL + "headers = { 'a b' = '1' }\n", ":2: 'a b' is not a header's name"),
        (MODEL + 'headers = { a = "b\\nc" }\n', ":2: the header 'a' should be one line of plain"),
        (MODEL + "extra = { seed = 1 }\n", ":2: extra holds 'seed', which soupstock itself writes"),
        (MODEL + "extra = { a = nan }\n", ":2: extra holds a number that is not finite"),
        (MODEL + "base_url = 'ftp://a/v1'\n", ":2: base_url should be like `http://localhost:8000"),
        (MODEL + "base_url = 'http://a b/v1'\n", ":2: base_url should be like `http://localhost:"),
        (MODEL + "base_url = 'http://a:x/v1'\n", ":2: base_url should be like `http://localhost:"),
        (
            MODEL + "base_url = 'http://'\n",
            ":2: base_url should be like `http://localhost:8000/v1`",
        ),
        (
            '[tool.soupstock]\n"\\u001b[2J" = 1\n',
            ":2: unknown key '\\x1b[2J'; there are: embedder, models",
        ),
        ("[tool.soupstock]\na = " + "[" * 300 + "]" * 300, ": it is nested too deeply"),
        ("[tool.soupstock]\na = " + "[" * 9000, ": not TOML: "),
        (MODEL + "vllm = 'a b'\n", ":2: vllm should be a model's name, without spaces, not 'a b'"),
        (MODEL + "vllm = '--port'\n", ":2: vllm should be a model's name or its folder, not '--p"),
        (MODEL + "vllm = 'm'\ntensor_paralel = 2\n", ":3: unknown key 'tensor_paralel'; did you"),
        (MODEL + "vllm = 'm'\ntensor_parallel = 0\n", ":3: tensor_parallel should be more than 0"),
        (MODEL + "vllm = 'm'\ndtype = 'int8'\n", ":3: dtype should be 'auto', 'half', 'float16'"),
        (
            MODEL + "vllm = 'm'\ngpu_memory_utilization = 90\n",
            ":3: gpu_memory_utilization should be at most 1, not 90",
        ),
        (MODEL + "vllm = 'm'\nbase_url = 'http://a/v1'\n", ":3: a is both 'vllm' and 'base_url'"),
        (MODEL + "vllm = 'm'\nargs = '--x'\n", ":3: args should be a list, not '--x'"),
        (MODEL + "vllm = 'm'\nargs = ['-x', 3]\n", ":3: item 2 of args should be text, not 3"),
        (
            MODEL + "vllm = 'm'\nargs = ['--api_key=sk-planted']\n",
            ":3: args holds '--api-key', which soupstock itself sets",
        ),
        (
            MODEL + "vllm = 'm'\nenv = {'A B' = ''}\n",
            ":3: 'A B' is not an environment variable's name",
        ),
        (MODEL + "vllm = 'm'\nenv = {A = 1}\n", ":3: A should be text, not 1"),
        (
            MODEL + "vllm = 'm'\nenv = {VLLM_API_KEY = 'sk-planted'}\n",
            ":3: env holds VLLM_API_KEY, which soupstock itself sets",
        ),
        (MODEL + "vllm = 'm'\ncommand = '\"'\n", ":3: command should be like `vllm` or a path"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert mistake_in(tmp_path, text).startswith(said)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.soupstock]\n# caf\xe9\n")
    with pytest.raises(MistakeError, match=r"pyproject\.toml:2: it is not UTF-8 text"):
        read_settings(tmp_path)
    assert not has_settings(tmp_path)


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("ab.[]=\"'{},#\n1-: \\\x00é"), max_size=30))
def test_any_text_under_the_table_is_settings_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    try:
        found = models_in(folder, f"[tool.soupstock.models.a]\n{text}")
    except MistakeError as error:
        said = str(error)
    else:
        said = ", ".join(found)
    assert said.isprintable()


def test_an_address_from_the_environment_is_checked_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost")
    with pytest.raises(MistakeError, match="OPENAI_BASE_URL cannot be used: base_url should be"):
        resolve("openai/x", {})
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost/v1")
    assert resolve("openai/x", {}).base_url == "http://localhost/v1"


def test_a_declared_model_is_asked_by_its_own_name_whatever_it_is_called_here() -> None:
    endpoints = {"org/a": Endpoint(model="b"), "c": Endpoint(), "d": Endpoint(model="e")}
    assert resolve("org/a", endpoints).name == "b"
    assert resolve("c", endpoints).name == "c"
    assert resolve("c/x/y", endpoints).name == "x/y"
    assert resolve("d", endpoints).name == "e"
