"""The run's HTML report: one self-contained file, made from the manifest and the rows.

All text of a row is treated as hostile. The templates escape everything; the page's policy allows
its own script and style alone, by their hashes, and no requests; and the file has no control
characters.
"""

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from soupstock import spec
from soupstock.artifacts import run_folder
from soupstock.artifacts.manifest import Manifest, PartRecord, StepRecord
from soupstock.reports.card.judges import CORRUPTIONS, OUTCOMES
from soupstock.reports.columns import ColumnRoles, column_roles, row_index
from soupstock.reports.page import charts
from soupstock.reports.page.findings import LANGUAGE_TEXTS, Bin, Distribution, Findings, Share, find
from soupstock.reports.page.samples import (
    CUTS,
    Filters,
    SampledRow,
    SampleReader,
    choose,
    cut_text,
    passages,
)

PAGE_BYTES = 1_900_000
"""The largest size of a report."""

MOST_ROWS = 500
"""The largest number of rows that it shows."""

_ROW_BYTES = 24_000
_ROWS_BYTES = 1_300_000
_PART_CHARACTERS = 8_000
_PARTS_CHARACTERS = 100_000

# C0 and C1 controls except tab and newline, surrogates, and controls of the text direction.
_INVISIBLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Sample:
    """The rows that are shown, as HTML, in source order."""

    rows: Sequence[Markup] = ()
    kept: int = 0
    """How many of them were kept."""
    numbers: frozenset[int] = frozenset()
    """Their places in the source, from 1."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How many of them were dropped for each reason."""


@dataclass(frozen=True)
class Totals:
    """The sums over all steps."""

    dropped: int
    worst: str | None
    """The reason that dropped the most rows."""
    failures: int


def write_report(
    folder: Path, manifest: Manifest, rows: pl.LazyFrame, filters: Filters = ()
) -> Path:
    """Write report.html; the same run gives the same bytes except for time and payment."""
    path = folder / run_folder.REPORT
    path.write_text(render_report(manifest, rows, filters), encoding="utf-8", newline="\n")
    return path


def render_report(manifest: Manifest, rows: pl.LazyFrame, filters: Filters = ()) -> str:
    """Return the page of a run: `rows` are all rows, kept and dropped, in source order.

    `filters` are applied again to the rows that they dropped, to show what they compared.
    """
    columns = column_roles(manifest, dict(rows.collect_schema()))
    index = row_index(rows)
    found = find(rows, index, columns)
    page = _page(manifest, columns, found, Sample())
    room = min(_ROWS_BYTES, PAGE_BYTES - len(page.encode()))
    first = [row.row_id for one in found.judged if one.uncertain for row in one.uncertain.rows]
    chosen = list(dict.fromkeys([*first, *choose(index, MOST_ROWS)]))[:MOST_ROWS]
    sampled = SampleReader(manifest, rows, index, columns, filters).fetch(chosen)
    return _page(manifest, columns, found, _sample(sampled, _numbers(manifest), room))


def _page(manifest: Manifest, columns: ColumnRoles, found: Findings, sample: Sample) -> str:
    css, js = _asset("report.css"), _asset("report.js")
    page = _template("report.html").render(
        run=manifest,
        pipeline=_cut(json.dumps(manifest.pipeline, indent=2, ensure_ascii=False), 40_000),
        found=found,
        sample=sample,
        shown=sample.numbers,
        totals=_totals(manifest.steps),
        numbers=_numbers(manifest),
        has_dedup=any(isinstance(step, spec.Dedup) for step in columns.pipeline.steps),
        language_texts=LANGUAGE_TEXTS,
        css=Markup(css),  # noqa: S704 - our own file
        js=Markup(js),  # noqa: S704 - our own file
        policy=_policy(css, js),
    )
    return _visible(page)


def _policy(css: str, js: str) -> str:
    """Allow the page's own style and script, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _visible(text: str) -> str:
    """Replace invisible characters by their code points, so they can be seen and do nothing."""
    text = text.replace("\r\n", "\n")
    return _INVISIBLE.sub(lambda found: f"\u2039U+{ord(found[0]):04X}\u203a", text)


def _sample(sampled: Iterator[SampledRow], numbers: dict[str, int], room: int) -> Sample:
    """Render rows until the room is used up, and return them in source order."""
    rows: dict[int, Markup] = {}
    kept, reasons = 0, Counter[str]()
    # Rows come in turn from each kind, and there must be room for a whole round.
    most = min(_ROW_BYTES, room // (2 * len(numbers) + 2))
    for one in sampled:
        html = _row(one, numbers, most)
        room -= len(html.encode())
        if room < 0:
            break
        rows[one.number] = html
        kept += not one.reasons
        reasons.update(set(one.reasons))
    ordered = {reason: reasons[reason] for reason in numbers if reason in reasons}
    return Sample([rows[number] for number in sorted(rows)], kept, frozenset(rows), ordered)


def _row(row: SampledRow, numbers: dict[str, int], most: int) -> Markup:
    """Render a row; its texts are cut shorter if it would be too large."""
    kinds = ["dropped", *(f"{numbers[reason]}" for reason in row.reasons)]
    for cut in CUTS:
        html = _template("row.html").render(
            row=row, limit=cut, kinds=" ".join(kinds) if row.reasons else "kept"
        )
        html = _visible(html)
        if len(html.encode()) <= most:
            break
    return Markup(html)  # noqa: S704 - the template has escaped it


def _numbers(manifest: Manifest) -> dict[str, int]:
    """Number the reasons in the order of the steps; HTML attributes get the numbers, not texts."""
    reasons = (reason for step in manifest.steps for reason, _ in _reasons(step))
    return {reason: number for number, reason in enumerate(dict.fromkeys(reasons))}


def _totals(steps: Sequence[StepRecord]) -> Totals:
    dropped = Counter[str]()
    for step in steps:
        dropped.update(step.dropped)
    return Totals(
        dropped=dropped.total(),
        worst=max(dropped, key=lambda reason: dropped[reason], default=None),
        failures=sum(failure.rows for step in steps for failure in step.failures),
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("soupstock.reports.page", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(bar=charts.bar, histogram=_histogram)
    environment.filters.update(
        at_most=lambda text, limit: cut_text(text, limit)[0],
        capitalized=lambda text: text[:1].upper() + text[1:],
        corruption=lambda kind: CORRUPTIONS.get(kind, kind),
        count=_count,
        cut=_cut,
        money=_money,
        outcome=lambda verdict: OUTCOMES[verdict],
        most_rows=lambda shares: max(map(_rows, shares), default=0),
        passages=passages,
        percent=_percent,
        range_of=_range,
        reasons_of=_reasons,
        rows_of=_rows,
        score=_score,
        seconds=_seconds,
        sentence=_sentence,
        shortened=_shorten,
    )
    return environment.get_template(name)


def _histogram(found: Distribution, noun: str) -> Markup:
    columns = [charts.Column(b.low, _range(b, noun), b.kept, b.dropped) for b in found.bins]
    label = f"Histogram of {found.column}. {_sentence(found, noun)}"
    return charts.histogram(columns, label, _formatter(noun), found.limits)


def _sentence(found: Distribution, noun: str) -> str:
    show = _formatter(noun)
    values, unit = ("scores", "") if noun == "score" else ("texts", f" {noun}")
    return (
        f"{_count(found.values)} {values}, mean {show(found.mean)}{unit}, "
        f"median {show(found.median)}; 80% are from {show(found.low)} to {show(found.high)}."
    )


def _range(found: Bin, noun: str) -> str:
    show = _formatter(noun)
    if found.high is None:
        return f"{show(found.low)} and more"
    # Characters are whole numbers: a bin up to, but not including, 20 ends with 19.
    return f"{show(found.low)}\u2013{show(found.high if noun == 'score' else found.high - 1)}"


def _formatter(noun: str) -> Callable[[float], str]:
    return _score if noun == "score" else _count


def _rows(share: Share) -> int:
    return share.kept + share.dropped


def _reasons(step: StepRecord) -> list[tuple[str, int]]:
    """List a step's reasons with the rows that each dropped, the largest number first."""
    rows = [(reason, step.dropped.get(reason, 0)) for reason in step.flagged]
    return sorted(rows, key=lambda pair: (-pair[1], pair[0]))


def _shorten(parts: Sequence[PartRecord]) -> list[PartRecord]:
    """Cut the texts of files so that all of them fit."""
    limit = min(_PART_CHARACTERS, _PARTS_CHARACTERS // max(1, len(parts)))
    return [part.model_copy(update={"text": _cut(part.text, limit)}) for part in parts]


def _count(number: float) -> str:
    return f"{round(number):,}"


def _percent(part: int, whole: int) -> str:
    """Show a share; a few are never 0% and most are never 100%."""
    if not whole:
        return "\u2013"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1%"
    return ">99%" if 99 < percent < 100 else f"{percent:.0f}%"  # noqa: PLR2004 - percent


def _score(number: float | None) -> str:
    return "\u2013" if number is None else f"{number:.2f}"


def _money(dollars: float | None) -> str:
    """Show US dollars, small amounts with three significant digits: `$12.30`, `$0.00214`."""
    if dollars is None:
        return "\u2013"
    digits = 2 if dollars <= 0 else max(2, 2 - math.floor(math.log10(dollars)))
    return f"${dollars:,.{digits}f}"


def _seconds(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
