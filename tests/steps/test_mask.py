"""Placeholders stand for personal data and secrets, and for nothing else."""

from typing import Any

import polars as pl
import pytest
from planted import KINDS as DEFECTS
from planted import planted as planted_in
from pruned_rows import pipeline, texts

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.spec.pruning import KINDS, IdentifierKind
from soupstock.text.masking import mask
from soupstock.text.pii import IDENTIFIERS


def masked(text: str) -> str:
    found: str = mask(pl.Series([text])).texts[0]
    return found


KEY = """-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEA7bq3Sx9v1Yq2hXkq1nYb
q8d2c+/P0==
-----END RSA PRIVATE KEY-----"""


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Write to anna.berg@mail.de today.", "Write to [email] today."),
        ("Call +49 30 901820 or +49 30 901821.", "Call [phone] or [phone]."),
        ("Pay to DE89 3704 0044 0532 0130 00 by May.", "Pay to [iban] by May."),
        ("Pay to DE89370400440532013000.", "Pay to [iban]."),
        ("My card is 4111 1111 1111 1111.", "My card is [card]."),
        ("The server at 8.8.8.8 answers.", "The server at [ip] answers."),
        (f"Use ghp_{'aB3d' * 9} now.", "Use [secret] now."),
        (f"Here:\n{KEY}\nKeep it.", "Here:\n[secret]\nKeep it."),
        (f"Cut off: {KEY[:80]}", "Cut off: [secret]"),
        ("postgres://app:hunter22@db.mail.de/x", "[secret]/x"),
        ("a@b.co a@b.co é😀 a@b.co", "[email] [email] é😀 [email]"),
        ("See section 1.2.3.4, anna@example.org, 192.168.0.1, 4111.", None),
        ("", None),
    ],
)
def test_what_is_masked_and_what_is_left(text: str, written: str | None) -> None:
    assert masked(text) == (text if written is None else written)


NAMES = {
    "secrets": "secret",
    "emails": "e-mail address",
    "ibans": "IBAN",
    "cards": "payment card",
    "phones": "telephone number",
    "ips": "IP address",
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_a_filter_would_find_is_left(kind: IdentifierKind) -> None:
    sound = "Here is what you asked for, as we said on Monday. It took us a while to find it all."
    planted = [defect for _, defect in planted_in(DEFECTS[NAMES[kind]], [sound], 50, seed=7)]
    found = mask(pl.Series(planted))
    assert found.counts[kind] >= 50
    for identifier in IDENTIFIERS.values():
        assert identifier.count(found.texts).sum() == 0


def test_only_the_kinds_that_are_named_are_masked_and_each_is_counted() -> None:
    text = "a@b.co, 8.8.8.8, c@d.co"
    found = mask(pl.Series([text, None]), ["emails"])
    assert found.texts.to_list() == ["[email], 8.8.8.8, [email]", None]
    assert found.counts == {"emails": 2}


def test_lists_and_conversations_keep_their_shape() -> None:
    turns = [
        {"role": "user", "content": "I am a@b.co", "name": None},
        {"role": "assistant", "content": "Hello a@b.co", "name": "bot"},
        {"role": "tool", "content": None, "name": None},
    ]
    values = pl.Series("chat", [turns, None, []])
    every, one = mask(values), mask(values, role="assistant")
    assert every.texts.dtype == values.dtype
    said = [[turn["content"] for turn in row] for row in (every.texts[0], one.texts[0])]
    assert said == [["I am [email]", "Hello [email]", None], ["I am a@b.co", "Hello [email]", None]]
    assert every.texts.to_list()[1:] == [None, []]
    assert every.texts[0][1]["name"] == "bot"
    assert (every.counts, one.counts) == ({"emails": 2}, {"emails": 1})
    assert mask(pl.Series([["a@b.co", None]])).texts.to_list() == [["[email]", None]]


MASK = "  - mask: text\n    into: clean\n"


def test_a_pipeline_makes_a_new_column_counts_and_does_not_publish_the_old_one(
    folder: Folder,
) -> None:
    pipeline(folder, MASK, texts("I am a@b.co, 8.8.8.8", "Nobody.", None))
    run = folder.run()
    assert run.rows["text"][0] == "I am a@b.co, 8.8.8.8"
    assert run.rows["clean"].to_list() == ["I am [email], [ip]", "Nobody.", None]
    assert run.manifest.steps[0].masked == {"emails": 1, "ips": 1}
    published = pl.read_parquet(next((run.folder / "dataset").rglob("*.parquet")))
    assert "clean" in published.columns
    assert "text" not in published.columns
    card = (run.folder / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "1 emails, 1 ips" in card
    assert "not searched for personal data" not in card
    report: Any = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Masked: 1 emails, 1 ips." in report


def test_the_masked_column_is_there_for_the_steps_after_it(folder: Folder) -> None:
    steps = f"{MASK}  - filter:\n      - no_personal_data: {{column: clean}}\n"
    pipeline(folder, steps, texts("I am a@b.co.", "I am c@d.co."))
    assert folder.run().manifest.kept == 2


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("mask: text", "the key 'into' is missing"),
        ("mask: n\n    into: clean", "'n' is not a text"),
        ("mask: text\n    into: n", "there is a column 'n' already"),
        ("mask: text\n    into: id", "the column 'id' is reserved by soupstock"),
        ("mask: text\n    into: clean\n    kinds: [names]", "item 1 of kinds should be 'secrets'"),
    ],
)
def test_a_mistake_in_a_mask_step_is_one_clear_line(folder: Folder, step: str, said: str) -> None:
    pipeline(folder, f"  - {step}\n", [{"text": "Something.", "n": 1}])
    with pytest.raises(MistakeError) as caught:
        folder.plan()
    assert said in str(caught.value)
