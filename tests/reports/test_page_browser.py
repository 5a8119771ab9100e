"""In a real browser nothing in a report runs or loads, and it can be read and used by keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from chromium import ARGUMENTS, CHROMIUM
from hostile_page import HOSTILE, hostile_run
from playwright.sync_api import Browser, Page, sync_playwright

from conftest import CHAT, RUBRIC, Folder
from soupstock import testing
from soupstock.testing import Server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM} (see .ci/browser)"),
]

# The ratio of WCAG 2.2, of a text's colour to that of the nearest ground that is not transparent.
CONTRAST = """(element) => {
  const read = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let ground = element;
  while (read(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const pair = [light(read(getComputedStyle(element).color)),
                light(read(getComputedStyle(ground).backgroundColor))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""

TEXTS = (
    *("h1", ".lead", ".outcome", "nav a", "section > p", "th", "td", "caption", "figcaption"),
    *(".headline dt", ".headline dd", ".headline dd span", ".reasons a", ".soft", "footer", "pre"),
    *(".passage .text", ".passage .label", ".state", ".number", ".why", ".verdict", ".example"),
    *(".failure strong", "label", ".status"),
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_run(tmp_path_factory.mktemp("hostile") / "project").folder / "report.html"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a report of 60 rows, some of which failed and some of which the filter dropped."""
    folder = Folder(tmp_path_factory.mktemp("plain") / "project")
    text = CHAT.replace("rows: 20", "rows: 60")
    folder.write("pipelines/mine.yaml", f"description: Questions and answers.\n{text}")
    folder.write("prompts/ask.md", "Ask about {{ topic }}, {{ style }}.")
    folder.write("prompts/reply.md", "{{ question }}")
    folder.write("prompts/rubrics/plain.yaml", RUBRIC)
    with Server() as server:
        folder.point_at(server.base_url, attempts=1)
        server.fail(testing.share(0.05, testing.error(500)))
        return folder.run().folder / "report.html"


# The runs come first: inside of playwright no other event loop can run.
@pytest.fixture(scope="module")
def browser(hostile: Path, plain: Path) -> Iterator[Browser]:
    del hostile, plain
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """A page, and everything that it did."""

    def __init__(
        self, browser: Browser, path: Path, scheme: str = "light", width: int = 1280
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.page: Page = self.context.new_page()
        self.events: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.events.append(message.text))
        self.page.on("pageerror", lambda error: self.events.append(str(error)))
        self.page.on("dialog", lambda dialog: self.events.append(dialog.message))
        self.page.on("popup", lambda popup: self.events.append(popup.url))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def shown(self) -> int:
        """Count the rows that are shown."""
        return self.page.locator(".entry:visible").count()


def test_hostile_text_neither_runs_nor_loads_anything(browser: Browser, hostile: Path) -> None:
    with Watched(browser, hostile) as seen:
        page = seen.page
        while page.locator("#more").is_visible():
            page.locator("#more").click()
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.get_by_label("Search the rows").fill(HOSTILE[0])
        page.wait_for_load_state("networkidle")
        assert page.locator(".entry:visible .life").first.is_visible()
        assert HOSTILE[1] in page.locator(".life").first.inner_text()
        assert page.evaluate("window.ran") is None
        assert seen.events == []
        # The icon is an empty data: address, which is no request to anywhere.
        assert [url for url in seen.requests if url != "data:,"] == [hostile.as_uri()]


def test_rows_are_searched_and_filtered_by_keyboard(browser: Browser, plain: Path) -> None:
    with Watched(browser, plain) as seen:
        page, status = seen.page, seen.page.get_by_role("status")
        assert seen.shown() == 20
        page.get_by_label("Search the rows").focus()
        id_ = page.locator("#row-41 code").last.text_content() or ""
        page.keyboard.type(id_.upper())
        assert status.text_content() == "1 of 60 rows"
        assert page.locator("#row-41").is_visible()
        page.keyboard.press("Control+A")
        page.keyboard.type("no such words")
        assert status.text_content() == "No row matches."
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        page.keyboard.press("Tab")
        page.keyboard.type("dropped")
        dropped = page.locator(".state.dropped").count()
        assert 0 < dropped < 60
        assert seen.shown() == min(20, dropped)
        assert status.text_content() == f"{dropped} of 60 rows" + (
            ", the first 20 shown" if dropped > 20 else ""
        )
        page.keyboard.press("End")
        assert (
            page.get_by_label("Show")
            .evaluate("(one) => one.selectedOptions[0].text")
            .startswith("filter: score(quality)")
        )
        assert page.locator(".entry:visible .why").all_text_contents() == (
            ["filter: score(quality)"] * seen.shown()
        )
        assert seen.events == []


def test_a_row_is_opened_and_more_are_shown_by_keyboard(browser: Browser, plain: Path) -> None:
    with Watched(browser, plain) as seen:
        page = seen.page
        page.locator("#row-1 summary").focus()
        page.keyboard.press("Enter")
        assert page.locator("#row-1 .life").is_visible()
        ring = page.locator("#row-1 summary").evaluate(
            "(one) => getComputedStyle(one).outlineStyle"
        )
        assert ring == "solid"
        page.locator("#more").focus()
        page.keyboard.press("Enter")
        assert seen.shown() == 40
        assert page.evaluate("document.activeElement.closest('.entry').id") == "row-21"


def test_a_reason_in_the_funnel_leads_to_its_rows(browser: Browser, plain: Path) -> None:
    with Watched(browser, plain) as seen:
        link = seen.page.locator(".funnel a", has_text="filter: score(quality)")
        link.click()
        reasons = seen.page.locator(".entry:visible .why").all_text_contents()
        assert set(reasons) == {"filter: score(quality)"}
        assert seen.page.locator("#rows-title").is_visible()


def test_an_address_that_names_a_row_opens_it(browser: Browser, plain: Path) -> None:
    with Watched(browser, plain) as seen:
        seen.page.goto(f"{plain.as_uri()}#row-55")
        assert seen.page.locator("#row-55 .life").is_visible()


def test_without_scripts_every_row_is_there_and_opens(browser: Browser, plain: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(plain.as_uri())
    assert page.locator(".entry:visible").count() == 60
    assert page.locator(".tools").is_hidden()
    page.locator("#row-60 summary").click()
    assert page.locator("#row-60 .life").is_visible()
    context.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, hostile: Path, plain: Path, width: int
) -> None:
    for path in (hostile, plain):
        with Watched(browser, path, width=width) as seen:
            seen.page.evaluate(
                "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
            )
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(browser: Browser, plain: Path, scheme: str) -> None:
    with Watched(browser, plain, scheme) as seen:
        page = seen.page
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(ground.removeprefix("rgb(").split(",")[0])
        assert (red < 64) == (scheme == "dark")
        for selector in TEXTS:
            found = page.locator(selector)
            assert found.count(), selector
            for n in range(min(found.count(), 8)):
                assert found.nth(n).evaluate(CONTRAST) >= 4.5, (selector, n)
