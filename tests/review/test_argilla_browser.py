"""A person signs in to the real Argilla in a real browser, answers, and the dataset changes."""

import json
import os
import re
from pathlib import Path

import pytest
from argilla_server import Server as Argilla
from argilla_server import argilla
from chromium import ARGUMENTS, CHROMIUM
from playwright.sync_api import Page, expect, sync_playwright
from reviewing import review

from conftest import Folder
from soupstock.testing import Request, Server

__all__ = ["argilla"]

pytestmark = [
    pytest.mark.argilla,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM} (see .ci/browser)"),
]

PIPELINE = """\
description: Questions from a kitchen, and short answers.
models: {writer: test, judge: test}
source: {file: topics.jsonl}
steps:
  - {generate: instruction, model: writer, prompt: ask}
  - {generate: response, model: writer, prompt: reply}
  - {judge: quality, model: judge, rubric: kitchen, canaries: false}
  - {review: argilla}
  - {dataset: me/kitchen, schema: Conversation}
"""
RUBRIC = """\
description: Is this a good answer to a question from the kitchen?
columns: [instruction, response]
criteria:
  helpful:
    question: Does the response do what the message asks for?
    levels: [It misses what was asked., "It answers, with gaps.", It answers fully.]
  clear:
    question: Is the response easy to read?
    levels: [It cannot be understood., "It is clear, with some slips.", It is clear throughout.]
"""
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
ANSWERS = {
    "basil": f"Water it in the morning, and pinch off the flowers. {HOSTILE}",
    "rice": f"Rinse it first. One cup of rice takes one and a half of water. {HOSTILE}",
    "knives": f"Wash them by hand, dry them at once, and keep them on a strip. {HOSTILE}",
}
SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""A folder to keep pictures in, for docs/review.md."""


def written(request: Request) -> str:
    if "response_format" in request.body:
        reason = {"reason": "It names what to do, and why.", "level": 3}
        return json.dumps({"helpful": reason, "clear": reason | {"level": 2}})
    topic = next(one for one in ANSWERS if one in request.prompt)
    return ANSWERS[topic] if "How" in request.prompt else f"How should I look after {topic}?"


def picture(page: Page, folder: Path, name: str) -> None:
    page.screenshot(path=Path(SCREENSHOTS or folder) / f"review-{name}.png")


def sign_in(page: Page, argilla: Argilla) -> None:
    page.goto(f"{argilla.url}/sign-in")
    page.locator("input[type=text]").first.fill("argilla")
    password = (argilla.home / "password").read_text(encoding="utf-8").strip()
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_person_reads_a_conversation_answers_it_and_the_dataset_follows(
    folder: Folder, server: Server, argilla: Argilla, tmp_path: Path
) -> None:
    folder.write("pipelines/mine.yaml", PIPELINE)
    topics = [json.dumps({"topic": topic}) for topic in ANSWERS]
    folder.write("topics.jsonl", "\n".join(topics) + "\n")
    folder.write("prompts/ask.md", "Ask about {{ topic }}.")
    folder.write("prompts/reply.md", "{{ instruction }}")
    folder.write("prompts/rubrics/kitchen.yaml", RUBRIC)
    server.answer = written
    before = folder.run()
    review(folder, **argilla.environment)
    place = argilla.datasets()[0]["id"]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
        context.set_default_timeout(30_000)
        # The page asks for fonts; the tests stay at home.
        context.route(lambda url: not url.startswith(argilla.url), lambda route: route.abort())
        page = context.new_page()
        sign_in(page, argilla)
        page.get_by_text("mine", exact=True).first.click()
        page.wait_for_url(re.compile("annotation-mode"))
        expect(page.get_by_text("1 of 3")).to_be_visible(timeout=30_000)
        shown = page.inner_text("body")
        topic = next(one for one in ANSWERS if f"after {one}?" in shown)
        # Hostile text is shown, and does nothing.
        assert "<script>document.title='run'</script>" in shown
        assert page.title() != "run"
        # What the judge found is suggested, in the rubric's words.
        expect(page.locator("#verdict_keep")).to_be_checked()
        expect(page.locator("#criterion_1_helpful_3")).to_be_checked()
        expect(page.locator("#criterion_2_clear_2")).to_be_checked()
        picture(page, tmp_path, "record")
        page.locator("label[for=verdict_unsafe]").click()
        page.locator("label[for=criterion_1_helpful_1]").click()
        picture(page, tmp_path, "answered")
        with page.expect_response(
            lambda one: "/responses" in one.url and one.request.method in {"POST", "PUT"}
        ) as sent:
            page.get_by_role("button", name=re.compile("Submit")).click()
        assert sent.value.ok
        expect(page.get_by_text("2 of 3")).to_be_visible(timeout=30_000)
        browser.close()

    result = review(folder, **argilla.environment)
    assert "waiting: 2 of 3" in result.stdout
    after = folder.run()
    argilla.call("DELETE", f"datasets/{place}")
    dropped = {row["topic"]: row["dropped_by"] for row in after.rows.to_dicts()}
    assert dropped.pop(topic) == ["review: unsafe"]
    assert not any(dropped.values())
    told = (before.manifest.dataset, after.manifest.dataset)
    assert [one.rows for one in told if one is not None] == [3, 2]
    text = (folder.root / "runs/mine/review/answers.jsonl").read_text(encoding="utf-8")
    assert '"helpful":"It misses what was asked."' in text
