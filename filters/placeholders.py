"""Placeholders that were never filled."""

import polars as pl

# An ASCII word boundary: a Unicode one makes the search many times slower.
_EDGE = r"(?-u:\b)"

_CODE = r"(?s)```.*?(?:```|$)|`[^`\n]*`"
_NOUNS = [
    *("name", "recipient", "sender", "signature", "client", "customer", "manager", "supervisor"),
    *("friend", "person", "age", "job", "role", "title", "position", "skill", "degree", "project"),
    *("company", "organization", "organisation", "department", "institution", "university"),
    *("school", "team", "brand", "industry", "field", "product", "service"),
    *("address", "city", "state", "country", "zip", "location", "place", "venue", "event"),
    *("date", "time", "year", "month", "day", "number", "phone", "email", "e-mail", "contact"),
    *("url", "website", "link", "code", "amount", "price", "topic", "subject", "reason"),
    *("details", "information", "here"),
]
_ANY = "|".join(_NOUNS)
_CAPITAL = "|".join(form for noun in _NOUNS for form in (noun.capitalize(), noun.upper()))
_FILL = (
    r"(?:your|my|his|her|their|insert|enter|fill(?: in)?|add|type|specify|describe|mention|provide"
    r"|choose|select|include|list|state)"
)
_PLACEHOLDER = "|".join(
    (
        # "[Your name]", "[insert date]"; what follows tells it from a link.
        rf"\[(?i:{_FILL})[ _-][^\]\[\n]{{1,60}}\](?:[^(\[:]|$)",
        # "[Name]", "[Company Name]", "[DATE]": capitals tell them from a manual's "[name]".
        (
            rf"\[(?:[A-Z][A-Za-z'\x{{2019}}]*[,]?[ _/-](?:of |the |and |or )?){{0,4}}"
            rf"(?:{_CAPITAL})[sS]?(?: \d)?\](?:[^(\[:]|$)"
        ),
        (
            r"\[(?i:image|photo|picture|link|video|logo)(?: (?:of|to|here|goes)[^\]\n]{0,60})?\]"
            r"(?:[^(\[:]|$)"
        ),
        rf"<(?i:{_FILL})[ _-][^<>\n]{{1,60}}>|\((?i:insert|fill in|enter) [^()\n]{{1,60}}\)",
        # A template that was not rendered.
        r"\{\{ ?[A-Za-z_][\w. |]{0,40}\}\}|\{% ?[a-z]+[^%\n]{0,60}%\}",
        rf"\{{(?i:{_FILL}[ _])?(?i:{_ANY})\}}",
        r"(?i)\blorem ipsum\b|\bdolor sit amet\b",
        r"(?-i)\b(?:XX+[-/.]){1,4}XX+\b|[$\x{20AC}\x{A3}]XX+\b|\(XXX\)",
        r"(?m:^[ \t]*(?:[-*] )?\[?(?:TODO|TBD|TBA|FIXME)\b)|\[(?:TODO|TBD|TBA)[^\]\n]{0,60}\]",
        r"\w: ?_{4,}",
    )
)


def no_placeholders(column: str) -> pl.Expr:
    """Keep rows whose `column` has no placeholders: "[Your name]", "{{ topic }}", "lorem ipsum".

    Code is ignored, because placeholders are often correct in it.
    """
    text = pl.col(f"{column}::text")
    prose = text.str.replace_all(_CODE, " ")
    return prose.str.extract(_PLACEHOLDER.replace(r"\b", _EDGE), 0).is_null() & text.is_not_null()
