"""SVG elements for the charts of the report and the card. All text is escaped.

No style attributes and no scripts, so a page may forbid both. Each element has a class, and the
style sheet beside it has the colours.
"""

from markupsafe import Markup

Length = float | str
"""A number of user units, or a share of the whole: `12.5%`."""


def rect(name: str, x: Length, y: Length, width: Length, height: Length) -> Markup:
    """Draw a rectangle of a class."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        name, _length(x), _length(y), _length(width), _length(height)
    )


def line(name: str, x: tuple[float, float], y: tuple[float, float]) -> Markup:
    """Draw a line of a class, from the first `x` and `y` to the second."""
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        name, *map(_length, (*x, *y))
    )


def text(x: float, y: float, content: str, anchor: str = "start") -> Markup:
    """Write a text on the base line `y`; `anchor` says which part of it is at `x`."""
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        _length(x), _length(y), anchor, content
    )


def _length(length: Length) -> str:
    return length if isinstance(length, str) else f"{length:.1f}".removesuffix(".0")
