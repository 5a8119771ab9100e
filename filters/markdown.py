"""Well-formed Markdown."""

import polars as pl

_FENCE = r"(?m)^[ \t]*(?:```|~~~)"
_CODE = r"(?s)```.*?(?:```|$)|`[^`\n]*`"
_BOLD_OPENS = r"(?:^|[\s(\[\x{22}'\x{201C}:])\*\*[^\s*]"
_BOLD_CLOSES = r"[^\s*]\*\*(?:[\s).,:;!?\x{22}'\x{201D}\]\x{2014}-]|$)"
# "[text](https://…" without an end, and a heading without a space after its marks.
_LINK = r"(?m)\[[^\]\n]{1,200}\]\((?:https?:|www\.|/|#|mailto:)[^)\n]*$"
_HEADING = r"(?m)^#{2,6}[\p{L}\p{N}*]"
_MATHS = r"(?m)^[ \t]*\$\$|\$\$[ \t]*$"
# The first two lines of a table.
_TABLE = r"(?m)^[ \t]*\|[^\n]*\|[ \t]*\n[ \t]*\|[ \t:|-]*-[ \t:|-]*\|[ \t]*$"


def valid_markdown(column: str) -> pl.Expr:
    """Keep rows whose `column` has no broken Markdown.

    Broken Markdown is a code fence, bold type, a link or a formula that is opened and not closed, a
    heading without a space after its marks, or a table whose first two lines have different numbers
    of cells.
    """
    text = pl.col(f"{column}::text")
    prose = text.str.replace_all(_CODE, "x")
    lines = pl.element().str.replace_all(r"\\\|", "").str.split("\n")
    cells = [lines.list.get(n).str.count_matches("|", literal=True) for n in (0, 1)]
    uneven = prose.str.extract_all(_TABLE).list.eval(cells[0] != cells[1]).list.sum()
    return pl.all_horizontal(
        text.str.count_matches(_FENCE) % 2 == 0,
        prose.str.count_matches(_BOLD_OPENS) == prose.str.count_matches(_BOLD_CLOSES),
        prose.str.count_matches(_LINK) == 0,
        prose.str.count_matches(_HEADING) == 0,
        prose.str.count_matches(_MATHS) % 2 == 0,
        uneven == 0,
    )
