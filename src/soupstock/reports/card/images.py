"""Charts as image files, for the card on the Hub. They are drawn from the manifest alone.

An image has its own style sheet, for light pages and dark ones.
"""

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from soupstock.artifacts.manifest import Manifest, ScoreRecord, SpreadRecord
from soupstock.errors import shown
from soupstock.reports.svg import line, rect, text

# A phone shows an image of this width nearly as large as it is.
_WIDTH, _LEFT, _RIGHT = 440, 2, 72
_ROW = 40
_TOP = 8
_LINE = 18
"""How far below its label a bar begins."""
_BAR = 12
_LONGEST = 56

_STYLE = Markup(
    "<style>text{font:13px system-ui,sans-serif;fill:#57606a}.kept{fill:#2f7d5b}"
    ".scale{stroke:#57606a;opacity:.3}.range{stroke:#57606a}.box{fill:#2f7d5b;opacity:.45}.middle{stroke:#2f7d5b;stroke-width:3}"
    "@media(prefers-color-scheme:dark){text{fill:#9da7b3}.kept,.box{fill:#4fb286}"
    ".scale,.range{stroke:#9da7b3}.middle{stroke:#4fb286}}</style>"
)


def images(manifest: Manifest) -> dict[str, str]:
    """Draw the card's images, by file name: the funnel, and the scores."""
    found = {"images/rows.svg": rows(manifest)}
    spreads = [score for score in manifest.scores if score.kept is not None]
    return found | ({"images/scores.svg": scores(spreads)} if spreads else {})


_HEADINGS = {
    "images/rows.svg": "## What was kept, and what was dropped\n",
    "images/scores.svg": "## How the judge scored it\n",
}
_WORDS = {
    "images/rows.svg": "Rows after each step",
    "images/scores.svg": (
        "Scores of the dataset's rows, from 0 to 1: lowest, quartiles, median, highest"
    ),
}


def add_images(card: str, found: Mapping[str, str]) -> str:
    """Put each image under its heading in the card."""
    for name in found:
        heading = _HEADINGS[name]
        image = f"{heading}\n![{_WORDS[name]}]({name})\n"
        card = card.replace(f"\n{heading}", f"\n{image}", 1)
    return card


def rows(manifest: Manifest) -> str:
    """Draw how many rows each step kept."""
    steps = [("source", manifest.rows), *((step.label, step.rows_kept) for step in manifest.steps)]
    most = max((number for _, number in steps), default=0) or 1
    width = _WIDTH - _LEFT - _RIGHT
    pieces = []
    for place, (label, number) in enumerate(steps):
        y = _TOP + place * _ROW
        pieces += [
            _label(_LEFT, y, _cut(label)),
            rect("kept", _LEFT, y + _LINE, width * number / most, _BAR),
            _label(_LEFT + width * number / most + 8, y + _LINE, f"{number:,}"),
        ]
    return _image(pieces, len(steps), "Rows after each step")


def scores(records: Sequence[ScoreRecord]) -> str:
    """Draw the spread of the scores of the dataset's rows: lowest, quartiles, median, highest."""
    pieces = [
        piece
        for place, record in enumerate(records)
        if record.kept is not None
        for piece in _spread(record.column, record.kept, _TOP + place * _ROW)
    ]
    return _image(pieces, len(records), "Scores of the dataset's rows, from 0 to 1")


def _spread(label: str, spread: SpreadRecord, y: int) -> Iterator[Markup]:
    width = _WIDTH - _LEFT - _RIGHT

    def x(score: float) -> float:
        return _LEFT + width * min(1.0, max(0.0, score))

    yield _label(_LEFT, y, _cut(label))
    y += _LINE
    middle = y + _BAR / 2
    lower, upper = x(spread.lower_quartile), x(spread.upper_quartile)
    yield line("scale", (x(0), x(1)), (middle, middle))
    yield line("range", (x(spread.lowest), x(spread.highest)), (middle, middle))
    yield rect("box", lower, y, max(1.0, upper - lower), _BAR)
    yield line("middle", (x(spread.median), x(spread.median)), (y, y + _BAR))
    yield _label(_WIDTH - _RIGHT + 8, y, f"{spread.median:.2f}")


def _image(pieces: Sequence[Markup], lines: int, label: str) -> str:
    height = 2 * _TOP + lines * _ROW
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}"'
            ' role="img" aria-label="{}">{}{}</svg>\n'
        ).format(_WIDTH, height, _WIDTH, height, label, _STYLE, Markup("").join(pieces))
    )


def _label(x: float, y: float, content: str) -> Markup:
    """Write a text; `y` is the top of its line."""
    return text(x, y + _BAR - 1, content)


def _cut(label: str) -> str:
    name = shown(label)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
