"""A planted key and a secret header are sent to their server, and are found nowhere else."""

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from clients import ask, calls_to, opened

from conftest import Folder, running
from soupstock import testing
from soupstock.cli.main import main
from soupstock.inference.call import Answer, Call
from soupstock.inference.servers.model import resolve
from soupstock.inference.transport import Address, Transport
from soupstock.project.settings import read_settings
from soupstock.testing import Server

KEY = "sk-planted-4711-key"
HEADER = "planted-0815-header"
SETTINGS = {"api_key_env": "PLANTED_KEY", "structured_output": None}


def point_at(folder: Folder, base_url: str | list[str]) -> None:
    folder.point_at(base_url, **SETTINGS, input_price=1.0, output_price=1.0)
    settings = folder.root / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(f'{text}headers = {{ X-Secret = "{HEADER}" }}\n', encoding="utf-8")


@pytest.fixture
def server(folder: Folder) -> Iterator[Server]:
    with Server(api_key=KEY) as server:
        point_at(folder, server.base_url)
        yield server


def soupstock(folder: Folder, *arguments: str, key: str = KEY) -> Result:
    """Run a command with the key in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.root)
        patch.setenv("PLANTED_KEY", key)
        return CliRunner().invoke(main, arguments)


def leaks(folder: Folder, *said: str) -> list[str]:
    """Return where a secret is: in what was said, or in a file that was written."""
    texts = {f"output {number}": text for number, text in enumerate(said)}
    runs = [path for path in folder.root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in runs) or not (folder.root / "runs").exists()
    for path in runs:
        if path.name == "pyproject.toml":
            continue
        texts[str(path)] = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            texts[str(path)] += str(pl.read_parquet(path).to_dicts())
    return [place for place, text in texts.items() if "planted-" in text]


def echo(status: int) -> testing.Reply:
    """Say what came, as servers do that help too much."""
    return testing.error(status, f"I do not like 'Bearer {KEY}', {KEY} and X-Secret: {HEADER}")


def test_a_run_that_succeeds_leaves_no_secret(
    folder: Folder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    with running(folder) as process:
        said = process.communicate()
        assert process.returncode == 0, said
    assert all(request.headers["X-Secret"] == HEADER for request in server.requests)
    assert (folder.root / "runs/mine/latest/dataset/README.md").is_file()
    planned = soupstock(folder, "plan", "mine")
    assert leaks(folder, *said, planned.stdout, planned.stderr) == []


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_server_that_echoes_the_key_in_its_errors_spreads_it_no_further(
    folder: Folder, server: Server, status: int
) -> None:
    folder.replace("pyproject.toml", 'model = "tester"', 'model = "tester"\nattempts = 1')
    # The questions are answered; whatever comes after them is refused.
    late = echo(status)
    server.fail(lambda request: None if request.prompt.startswith("Ask") else late)
    ended = soupstock(folder, "run", "mine")
    assert "[key]" in ended.stdout + ended.stderr
    assert leaks(folder, ended.stdout, ended.stderr) == []


def test_a_rejected_key_is_not_shown(folder: Folder, server: Server) -> None:
    server.fail(lambda _: echo(401))
    wrong = "sk-planted-4712-key"
    for key in (KEY, wrong):
        ended = soupstock(folder, "run", "mine", key=key)
        assert ended.exit_code == 1
        assert "401: " in ended.stderr
        assert leaks(folder, ended.stdout, ended.stderr) == []


@pytest.mark.parametrize("status", [None, 400, 401])
def test_a_list_of_models_shows_no_secret(
    folder: Folder, server: Server, status: int | None
) -> None:
    if status is not None:
        server.fail(lambda _: echo(status))
        server.listing = None if status == 400 else server.listing
    ended = soupstock(folder, "models", "mine")
    wrong = soupstock(folder, "models", "mine", key="sk-planted-4712-key")
    assert ended.exit_code == wrong.exit_code == 0
    assert "PLANTED_KEY is set" in ended.stdout
    assert "the key is refused" in wrong.stdout
    assert leaks(folder, ended.stdout, ended.stderr, wrong.stdout, wrong.stderr) == []


def test_several_addresses_are_shown_and_their_key_is_not(folder: Folder, server: Server) -> None:
    point_at(folder, [server.base_url, "http://127.0.0.1:9/v1"])
    ended = soupstock(folder, "run", "mine")
    assert ended.exit_code == 0, ended.stderr
    assert server.base_url in ended.stdout
    assert leaks(folder, ended.stdout, ended.stderr) == []


@pytest.mark.parametrize("key", ["sk-planted-1\n", "sk-planted-2\r", "sk-planted-“3”"])
def test_a_key_that_cannot_be_one_is_one_line_and_not_shown(
    folder: Folder, server: Server, key: str
) -> None:
    ended = soupstock(folder, "run", "mine", key=key)
    assert ended.exit_code == 1
    assert ended.stderr == (
        "soupstock: test: the environment variable PLANTED_KEY holds no key: "
        "one is a line of plain characters, without spaces\n"
    )
    assert server.count == 0
    assert leaks(folder, ended.stdout) == []


class Broken(Transport):
    """Fails as nobody foresaw."""

    async def post(self, address: Address, call: Call) -> Answer:
        raise RuntimeError(f"{address} {call.model}")


def test_a_traceback_holds_no_secret(
    folder: Folder, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    model = resolve("test", read_settings(folder.root).models)
    assert model.api_key == KEY

    async def broken() -> Exception | None:
        async with opened(tmp_path, transport=Broken()) as client:
            await ask(client, calls_to(model, 3))
            return client.broken

    error = asyncio.run(broken())
    assert isinstance(error, RuntimeError)
    said = "".join(traceback.format_exception(error))
    assert "Traceback" in said
    assert server.base_url in said
    assert leaks(folder, said, repr(model)) == []
