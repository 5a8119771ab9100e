"""Charts as files of their own, for the card on the Hub: drawn from the manifest alone.

An image has no style sheet but its own, and is shown on light pages and dark ones.
"""

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from soupstock.artifacts.manifest import Manifest, ScoreRecord, SpreadRecord
from soupstock.errors import shown

# A phone shows an image of this width nearly as large as it is.
_WIDTH, _LEFT, _RIGHT = 440, 2, 72
_ROW = 40
_TOP = 8
_LINE = 18
"""How far under its label a bar begins."""
_BAR = 12
_LONGEST = 56

_STYLE = Markup(
    "<style>text{font:13px system-ui,sans-serif;fill:#57606a}.kept{fill:#2f7d5b}"
    ".scale{stroke:#57606a;opacity:.3}.range{stroke:#57606a}.box{fill:#2f7d5b;opacity:.45}.middle{stroke:#2f7d5b;stroke-width:3}"
    "@media(prefers-color-scheme:dark){text{fill:#9da7b3}.kept,.box{fill:#4fb286}"
    ".scale,.range{stroke:#9da7b3}.middle{stroke:#4fb286}}</style>"
)


def images(said: Manifest) -> dict[str, str]:
    """Draw what the card shows, by the files' names: the funnel, and the scores."""
    found = {"images/rows.svg": rows(said)}
    spreads = [score for score in said.scores if score.kept is not None]
    return found | ({"images/scores.svg": scores(spreads)} if spreads else {})


_HEADINGS = {
    "images/rows.svg": "## What was kept, and what was dropped\n",
    "images/scores.svg": "## How the judge scored it\n",
}
_WORDS = {
    "images/rows.svg": "Rows after each step",
    "images/scores.svg": (
        "Scores of the published rows, from 0 to 1: lowest, quartiles, median, highest"
    ),
}


def illustrated(card: str, drawn: Mapping[str, str]) -> str:
    """Put the images under the headings that they belong to."""
    for name in drawn:
        heading = _HEADINGS[name]
        image = f"{heading}\n![{_WORDS[name]}]({name})\n"
        card = card.replace(f"\n{heading}", f"\n{image}", 1)
    return card


def rows(said: Manifest) -> str:
    """Draw how many rows were left after each step."""
    steps = [("source", said.rows), *((step.label, step.rows_kept) for step in said.steps)]
    most = max((number for _, number in steps), default=0) or 1
    width = _WIDTH - _LEFT - _RIGHT
    pieces = []
    for place, (label, number) in enumerate(steps):
        y = _TOP + place * _ROW
        pieces += [
            _text(_LEFT, y, _cut(label)),
            Markup('<rect class="kept" x="{}" y="{}" width="{:.1f}" height="{}"/>').format(
                _LEFT, y + _LINE, width * number / most, _BAR
            ),
            _text(_LEFT + width * number / most + 8, y + _LINE, f"{number:,}"),
        ]
    return _image(pieces, len(steps), "Rows after each step")


def scores(records: Sequence[ScoreRecord]) -> str:
    """Draw how the published rows' scores are spread: lowest, quartiles, median and highest."""
    pieces = [
        piece
        for place, record in enumerate(records)
        if record.kept is not None
        for piece in _spread(record.column, record.kept, _TOP + place * _ROW)
    ]
    return _image(pieces, len(records), "Scores of the published rows, from 0 to 1")


def _spread(label: str, spread: SpreadRecord, y: int) -> Iterator[Markup]:
    width = _WIDTH - _LEFT - _RIGHT

    def x(score: float) -> float:
        return _LEFT + width * min(1.0, max(0.0, score))

    yield _text(_LEFT, y, _cut(label))
    y += _LINE
    middle = y + _BAR / 2
    yield Markup('<line class="scale" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
        x(0), x(1), middle, middle
    )
    yield Markup('<line class="range" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
        x(spread.lowest), x(spread.highest), middle, middle
    )
    yield Markup('<rect class="box" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
        x(spread.lower_quartile),
        y,
        max(1.0, x(spread.upper_quartile) - x(spread.lower_quartile)),
        _BAR,
    )
    yield Markup('<line class="middle" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
        x(spread.median), x(spread.median), y, y + _BAR
    )
    yield _text(_WIDTH - _RIGHT + 8, y, f"{spread.median:.2f}")


def _image(pieces: Sequence[Markup], lines: int, label: str) -> str:
    height = 2 * _TOP + lines * _ROW
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}"'
            ' role="img" aria-label="{}">{}{}</svg>\n'
        ).format(_WIDTH, height, _WIDTH, height, label, _STYLE, Markup("").join(pieces))
    )


def _text(x: float, y: float, text: str) -> Markup:
    """Write a text; `y` is the top of its line."""
    return Markup('<text x="{:.1f}" y="{:.1f}">{}</text>').format(x, y + _BAR - 1, text)


def _cut(label: str) -> str:
    text = shown(label)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
