"""The report shows a whole run in one file, and no text of a row can act in it."""

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from statistics import mean

import polars as pl
import pytest
from hostile_page import HOSTILE, hostile_run

from conftest import Folder, repetitive
from soupstock import testing
from soupstock.artifacts.manifest import Manifest
from soupstock.inference.budget import Budget
from soupstock.reports.page.charts import Column, histogram
from soupstock.reports.page.page import render_report, write_report
from soupstock.runs.run import Run
from soupstock.testing import Server

SAFE_TAGS = set(
    re.findall(
        r"\w+",
        "a body button caption code dd defs details div dl dt figcaption figure footer form g h1"
        " h2 h3 h4 head header html input label li line link main meta nav ol option p pattern pre"
        " rect script section select span strong style summary svg table tbody td text tfoot th"
        " thead title tr ul br",
    )
)


class Page(HTMLParser):
    """A page taken apart: tags with attributes, and the text of each element with an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "input", "rect", "line"}:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        # Every element is closed in turn, or a text got out of its own.
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for key in {part for pair in self._open for part in pair if part}:
            self.texts.setdefault(key, []).append(data)

    def text(self, key: str) -> str:
        """Return the text within the element with this id, or within all elements of a tag."""
        return " ".join(" ".join(self.texts.get(key, [])).split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Run) -> Page:
    return Page((run.folder / "report.html").read_text(encoding="utf-8"))


def funnel(html: str) -> list[list[str]]:
    """Return the funnel's rows as texts: step with reasons, in, kept, dropped."""
    table = html[html.index('<table class="funnel">') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.split(r"</t[hd]>", row)[:4]]
        for row in rows
    ]


def test_every_number_of_the_funnel_is_in_the_page(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, attempts=1)
    server.fail(testing.share(0.1, testing.error(500)))
    folder.replace(
        "pipelines/mine.yaml",
        "      - score:",
        "      - length: {column: answer, min: 100}\n      - score:",
    )
    run = folder.run()
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    found = funnel(html)
    assert len(found) == len(run.manifest.steps)
    for (label, *numbers), step in zip(found, run.manifest.steps, strict=True):
        dropped = sum(step.dropped.values())
        assert label.startswith(step.label)
        assert numbers == [f"{n}" for n in (step.rows_in, step.rows_kept, dropped)]
        for reason, rows in step.dropped.items():
            assert f"{reason} {rows}" in label
        for reason, rows in step.flagged.items():
            if rows != step.dropped.get(reason, 0):
                assert f"({rows} including rows with another reason)" in label
    page = Page(html)
    assert f"Kept {run.manifest.kept} of 20 rows" in page.text("headline")
    assert any(step.failures for step in run.manifest.steps)
    for step in run.manifest.steps:
        for failure in step.failures:
            assert f"{failure.cause} {step.label} {failure.example} {failure.rows}" in page.text(
                "failures"
            )


def test_tokens_cost_models_and_hashes_are_those_of_the_manifest(
    folder: Folder, server: Server
) -> None:
    folder.point_at(server.base_url, input_price=1.5, output_price=6.0, license="mit")
    run = folder.run()
    manifest, page = run.manifest, page_of(run)
    assert manifest.cost is not None
    tokens = manifest.tokens
    total = page.text("cost").partition(" All ")[2]
    assert total.startswith(f"{manifest.answers} {tokens.prompt:,} {tokens.completion:,} $")
    assert float(total.partition("$")[2]) == pytest.approx(manifest.cost, rel=0.01)
    assert "writer tester test unknown mit" in page.text("making")
    for part in (*manifest.prompts, *manifest.rubrics, *manifest.schemas, *manifest.filters):
        assert part.sha256 in page.text("making")
        assert " ".join(part.text.split())[:200] in page.text("making")
    for name, version in manifest.versions.items():
        assert f"{name} {version}" in page.text("making")
    assert manifest.fingerprint in page.text("making")
    assert f"Calls made {manifest.paid.calls}" in page.text("run")
    assert manifest.timing.started in page.text("run")


def test_scores_levels_and_lengths_are_counted_from_the_rows(
    folder: Folder, server: Server
) -> None:
    del server
    run = folder.run()
    page = page_of(run)
    score = run.rows["quality"].struct.field("score")
    assert f"20 scores, mean {mean(score):.2f}, median" in page.text("scores")
    kept = run.rows["dropped_by"].list.len() == 0
    right = run.rows["quality"].struct.field("criteria").struct.field("right").struct.field("level")
    for level, words in enumerate(("wrong", "half", "right"), 1):
        rows = int((right == level).sum())
        of_them = int(((right == level) & kept).sum())
        share = f"{100 * of_them / rows:.0f}%" if rows else "\u2013"
        assert f"{level}: {words} {rows} {share}" in page.text("scores")
    answers = run.rows["answer"].str.strip_chars().str.len_chars()
    assert f"Length of answer 20 texts, mean {mean(answers):.0f} characters," in page.text("texts")
    for topic, rows in run.rows["topic"].value_counts().iter_rows():
        of_them = int(((run.rows["topic"] == topic) & kept).sum())
        assert f"{topic} {rows} {100 * of_them / rows:.0f}%" in page.text("sources")


def test_a_histogram_counts_every_value_once(folder: Folder, server: Server) -> None:
    del server
    run = folder.run()
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure>(.*?)</figure>", html, re.DOTALL)
    assert len(figures) == 3
    for figure in figures:
        kept, dropped = (
            sum(int(n) for n in found)
            for found in zip(
                *re.findall(r'<td class="n">(\d+)</td><td class="n">(\d+)</td>', figure),
                strict=True,
            )
        )
        assert (kept, dropped) == (run.manifest.kept, 20 - run.manifest.kept)
        drawn = re.findall(r": (\d+) kept, (\d+) dropped</title>", figure)
        assert sum(int(kept) for kept, _ in drawn) == run.manifest.kept


def test_a_chart_of_one_column_or_of_nothing_is_drawn() -> None:
    for column in (Column(0, "0", 0, 0), Column(5, "5", 1_000_000, 3)):
        svg = histogram([column], "x", str, [("min", 5.0)])
        assert svg.startswith("<svg")
        assert "nan" not in svg
        assert "inf" not in svg


def test_a_row_has_a_chapter_for_each_step_up_to_the_one_that_dropped_it(
    folder: Folder, server: Server
) -> None:
    del server
    run = folder.run()
    page = page_of(run)
    for number, row in enumerate(run.rows.to_dicts(), 1):
        life = page.text(f"row-{number}")
        for value in (row["topic"], row["question"], row["answer"], row["id"]):
            assert " ".join(value.split()) in life
        for name, found in row["quality"]["criteria"].items():
            assert f"{name}: {found['level']} of" in life
            assert found["reason"] in life
        assert f"Score {row['quality']['score']:.2f}" in life
        if row["dropped_by"]:
            assert "Dropped here: filter: score(quality)" in life
            assert f"score(quality) drops it: {row['quality']['score']:.3g} (min=0.5)" in life
            assert "dataset" not in life
        else:
            assert "dataset: me/mine passed Kept" in life


def test_a_row_shows_what_was_asked_unless_a_column_says_just_that(
    folder: Folder, server: Server
) -> None:
    folder.replace("prompts/ask.md", "Ask", "<b>Ask</b>")
    run = folder.run()
    assert server.count
    page = page_of(run)
    for number, row in enumerate(run.rows.to_dicts(), 1):
        life = page.text(f"row-{number}")
        assert life.count(f"asked <b>Ask</b> about {row['topic']}, {row['style']}.") == 1
        assert f"asked {row['question'].strip()}" not in life


def test_repeats_are_shown_with_the_row_that_stayed(folder: Folder) -> None:
    folder.dedup_questions()
    with Server(repetitive) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    page = page_of(run)
    assert (
        "16 rows are duplicates or near-duplicates of 4 earlier rows, which passed."
        in page.text("repeats")
    )
    sizes = run.rows["twin"].drop_nulls().value_counts()["count"].sort(descending=True)
    shown = re.findall(r"(\d+) \u00d7 What should", page.text("repeats"))
    assert [int(size) for size in shown] == sizes.to_list()
    numbers = {row["id"]: n for n, row in enumerate(run.rows.to_dicts(), 1)}
    for row in run.rows.to_dicts():
        if row["twin"]:
            life = page.text(f"row-{numbers[row['id']]}")
            assert f"duplicate of row {numbers[row['twin']]} , similarity 1.00" in life


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return hostile_run(tmp_path_factory.mktemp("hostile") / "project")


def test_hostile_text_is_only_ever_text(hostile: Run) -> None:
    html = (hostile.folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= SAFE_TAGS
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"src", "style", "action", "formaction", "srcdoc", "xlink:href"}
            if name == "href":
                assert value is not None
                assert re.fullmatch(r"#[\w-]+|data:,", value)
    assert len(page.attributes("script")) == len(page.attributes("style")) == 1
    assert [m.get("http-equiv") for m in page.attributes("meta") if "http-equiv" in m] == [
        "Content-Security-Policy"
    ]
    for place in ("rows", "making", "repeats", "scores", "header"):
        for text in HOSTILE:
            assert text in page.text(place), (place, text)
    # The client cuts what a server says.
    assert HOSTILE[0] in page.text("failures")
    assert "49" not in page.text("header")
    dropped = {reason for row in hostile.rows["dropped_by"].to_list() for reason in row}
    assert len(dropped) == 4


def test_no_control_character_gets_into_the_page(hostile: Run) -> None:
    html = (hostile.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", html)
    text = page_of(hostile).text("rows")
    for shown in ("U+0000", "U+001B", "U+0085", "U+2028", "U+202E", "U+2067"):
        assert f"\u2039{shown}\u203a" in text


def test_lone_surrogates_in_a_message_do_no_harm(folder: Folder, server: Server) -> None:
    del server
    run = folder.run()
    manifest = run.manifest.model_copy(
        update={"reason": "half \ud83d a pair", "outcome": "partial"}
    )
    path = write_report(run.folder, manifest, pl.scan_parquet(run.folder / "rows.parquet"))
    assert "Half \u2039U+D83D\u203a a pair" in path.read_text(encoding="utf-8")


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(hostile: Run) -> None:
    html = (hostile.folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    policy = next(m["content"] for m in page.attributes("meta") if "http-equiv" in m) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("img-src") == "data:"
    for tag in ("script", "style"):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[-1 if tag == "script" else 0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"}
    # Nothing that could act comes before the policy.
    assert html.index("Content-Security-Policy") < html.index("<title>")


def many(run: Run, rows: int, text: str) -> tuple[Manifest, pl.DataFrame]:
    """Return a run's rows repeated to so many, with longer answers, and a manifest that fits."""
    times = rows // run.rows.height
    frame = pl.concat([run.rows] * times).with_columns(
        id=pl.Series([hashlib.sha256(f"{n}".encode()).hexdigest()[:16] for n in range(rows)]),
        answer=pl.col("answer") + text,
    )
    kept = frame.filter(pl.col("dropped_by").list.len() == 0).height
    return run.manifest.model_copy(update={"rows": rows, "kept": kept}), frame


@pytest.mark.parametrize("text", ["", " more words" * 2000, "\u202e\"<&'" * 10_000])
def test_a_report_of_ten_thousand_rows_is_small_and_shows_rows_of_each_kind(
    folder: Folder, server: Server, text: str
) -> None:
    folder.point_at(server.base_url, attempts=1)
    server.fail(testing.share(0.1, testing.error(500)))
    run = folder.run()
    manifest, rows = many(run, 10_000, text)
    html = render_report(manifest, rows.lazy())
    assert len(html.encode()) <= 2_000_000
    kinds = re.findall(r'data-kinds="([^"]*)"', html)
    reasons = {reason for names in rows["dropped_by"].to_list() for reason in names}
    assert "kept" in kinds
    assert {word for kind in kinds for word in kind.split()} == {
        "kept",
        "dropped",
        *(str(n) for n in range(len(reasons))),
    }
    assert 40 <= len(kinds) <= 500
    assert f"{len(kinds)} of 10,000 rows are shown" in Page(html).text("rows")


@pytest.mark.usefixtures("server")
def test_the_same_answers_give_the_same_page_but_for_the_section_on_time(folder: Folder) -> None:
    def without_time(run: Run) -> str:
        html = (run.folder / "report.html").read_text(encoding="utf-8")
        start = html.index('<section id="run"')
        end = html.index("</section>", start)
        assert "<h2" not in html[end:]
        return html[:start] + html[end:]

    first = without_time(folder.run())
    assert without_time(folder.run()) == first


def test_a_page_does_not_depend_on_the_hash_seed(hostile: Run) -> None:
    script = (
        "import sys; from pathlib import Path; import polars as pl;"
        "from soupstock.artifacts import manifest;"
        "from soupstock.engine.plan import plan_file;"
        "from soupstock.project.project import Project;"
        "from soupstock.reports.page.page import render_report;"
        "from soupstock.runs.results import bound_filters;"
        "place = Path(sys.argv[1]); rows = pl.scan_parquet(place / 'rows.parquet');"
        "filters = list(bound_filters(plan_file('mine', Project(place.parents[2]))));"
        "page = render_report(manifest.read(place), rows, filters);"
        "sys.stdout.buffer.write(page.encode())"
    )
    pages = [
        subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-c", script, str(hostile.folder)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert pages[0] == pages[1]
    assert pages[0] == (hostile.folder / "report.html").read_bytes()


def test_a_run_without_rows_has_a_report(folder: Folder, server: Server) -> None:
    del server
    run = folder.run()
    steps = tuple(
        step.model_copy(update={"rows_in": 0, "rows_kept": 0, "dropped": {}, "flagged": {}})
        for step in run.manifest.steps
    )
    manifest = run.manifest.model_copy(update={"rows": 0, "kept": 0, "steps": steps})
    page = Page(render_report(manifest, run.rows.head(0).lazy()))
    assert "Kept 0 of 0 rows" in page.text("headline")
    assert "There are no rows." in page.text("rows")


@pytest.mark.usefixtures("server")
def test_a_run_without_judge_or_dedup_has_no_section_for_them(folder: Folder) -> None:
    text = (folder.root / "pipelines/mine.yaml").read_text()
    start, end = text.index("  - judge"), text.index("  - dataset")
    folder.write("pipelines/mine.yaml", text[:start] + text[end:])
    page = page_of(folder.run())
    links = {attributes["href"] for attributes in page.attributes("a")}
    assert {"#scores", "#repeats"}.isdisjoint(links)
    assert not page.text("scores")
    assert "Every call gave a usable answer." in page.text("failures")


@pytest.mark.usefixtures("server")
def test_a_run_that_kept_nothing_says_so(folder: Folder) -> None:
    folder.replace(
        "pipelines/mine.yaml",
        "      - score: {column: quality, min: 0.5}",
        "      - length: {column: answer, min: 9999}\n      - score: {column: quality, min: 1}",
    )
    page = page_of(folder.run())
    assert "Kept 0 of 20 rows, 0%" in page.text("headline")
    assert "most often by filter: length(answer)" in page.text("headline")
    assert "Dropped here: filter: length(answer), filter: score(quality)" in page.text("rows")


@pytest.mark.usefixtures("server")
def test_a_partial_run_says_why_in_its_first_lines(folder: Folder) -> None:
    page = page_of(folder.run(budget=Budget(max_calls=25)))
    assert (
        "Partial. Some of what was asked for is missing. Stopped: the budget is spent."
        in page.text("header")
    )
    assert "Dropped here: stopped: Budget" in page.text("rows")


@pytest.mark.usefixtures("server")
def test_links_lead_to_what_is_there_and_headings_are_in_order(folder: Folder) -> None:
    page = page_of(folder.run())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.attributes("a"):
        assert (attributes["href"] or "")[1:] in ids
    levels = [int(tag[1]) for tag, _ in page.tags if tag in {"h1", "h2", "h3", "h4"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in attributes for attributes in page.attributes("th"))
    labels = {attributes["for"] for attributes in page.attributes("label")}
    assert labels == {"words", "kind"}
    assert all("aria-label" in a or a.get("aria-hidden") == "true" for a in page.attributes("svg"))


def test_columns_that_a_review_adds_are_not_source_columns(folder: Folder, server: Server) -> None:
    del server
    step = "  - {review: file, sample: 5}\n  - dataset: me/mine"
    folder.replace("pipelines/mine.yaml", "  - dataset: me/mine", step)
    run = folder.run()
    assert "answer_original" in run.rows.columns
    sources = page_of(run).text("sources")
    assert "topic" in sources
    assert "answer_original" not in sources


def test_a_sources_column_may_have_any_name(folder: Folder, server: Server) -> None:
    del server
    rows = [{"*": f"a{n % 3}", "^.*$": n, "index": n % 2, "topic": "t"} for n in range(9)]
    folder.write("seeds.jsonl", "\n".join(map(json.dumps, rows)))
    text = (folder.root / "pipelines/mine.yaml").read_text()
    start, end = text.index("  rows: 20"), text.index("steps:")
    folder.write("pipelines/mine.yaml", f"{text[:start]}  file: seeds.jsonl\n{text[end:]}")
    folder.replace("prompts/ask.md", ", {{ style }}", "")
    folder.replace("pipelines/mine.yaml", "  - dataset: me/mine\n", "")
    page = page_of(folder.run())
    assert "a0 3" in page.text("sources")
    assert "* a0" in page.text("row-1")
