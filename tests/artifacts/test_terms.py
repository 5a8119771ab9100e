"""What licences say of what models write is known from a table that names its sources."""

import datetime as dt

import pytest
from ruamel.yaml import YAML

from soupstock.artifacts import terms
from soupstock.artifacts.terms import terms_of


@pytest.mark.parametrize(
    ("license_", "says"),
    [
        ("apache-2.0", "asks nothing"),
        (" Apache-2.0 ", "asks nothing"),
        ("MIT", "asks nothing"),
        ("llama3", "may not be used to improve any other large language model"),
        ("llama3.1", 'begins with "Llama"'),
        ("llama4", 'begins with "Llama"'),
        ("gemma", "Google claims no rights"),
        ("qwen", 'must show "Built with Qwen"'),
        ("qwen-research", "non-commercial"),
        ("Qwen Research", "non-commercial"),
    ],
)
def test_a_licence_is_known_by_the_name_that_the_hub_gives_it(license_: str, says: str) -> None:
    found = terms_of(license_)
    assert found is not None
    assert says in found.says


@pytest.mark.parametrize(
    ("base_url", "title"),
    [
        ("https://api.openai.com/v1", "OpenAI Services Agreement"),
        ("https://api.anthropic.com/v1/", "Anthropic Commercial Terms of Service"),
        ("https://api.openai.com.evil.example/v1", None),
        ("http://localhost:8000/v1", None),
        (None, None),
    ],
)
def test_a_service_is_known_by_its_host_and_by_nothing_else(
    base_url: str | None, title: str | None
) -> None:
    found = terms_of(None, base_url)
    assert (found and found.title) == title


def test_a_licence_that_is_stated_comes_before_what_is_known_of_the_service() -> None:
    found = terms_of("mit", "https://api.openai.com/v1")
    assert found is not None
    assert found.title == "MIT License"
    assert terms_of("nobody-knows", "https://api.openai.com/v1") is None


def test_each_text_of_the_table_has_an_address_a_version_and_the_day_it_was_read() -> None:
    table = YAML(typ="safe", pure=True).load(terms._TABLE.read_text(encoding="utf-8"))
    names = [name for one in table for name in (one.get("texts") or one["services"])]
    assert len(names) == len(set(names)) > 15
    for name in names:
        found = terms_of(name) or terms_of(None, f"https://{name}/v1")
        assert found is not None
        assert found.version
        assert found.says.endswith(".")
        assert dt.date(2026, 1, 1) < found.seen
