"""Links in a text: their number, their domains, and whether they look made up."""

import re

import polars as pl

# An ASCII word boundary: a Unicode one makes the search many times slower.
_EDGE = r"(?-u:\b)"

_URL = r"(?i)\b(?:https?://|www\.)[^\s<>()\[\]{}\x{22}]+"
_MADE_UP = (
    r"(?:(?:example|sample|fake|dummy|test|my|your|the|some|insert|placeholder)[a-z0-9-]*?"
    r"-?(?:site|website|web|url|link|here|domain|company|business|blog|shop|store|page|name|app)"
    r"|example|samples?|domain|website|websitename|site|sitename|url|link|placeholder|company"
    r"|companyname|businessname|insert-\w+|your-[a-z-]+|dummy|xxx+|abc|xyz|abcxyz)"
)
_DEAD = "|".join(
    (
        rf"https?://(?:[a-z0-9-]+\.)*{_MADE_UP}\.(?:com|org|net|io|co|edu|gov|info)\b",
        rf"\bwww\.{_MADE_UP}\.(?:com|org|net|io|co|edu|gov|info)\b",
        # No host, or a placeholder for it.
        r"https?://(?:www\.)?(?:[\s\x{2026}\[<{(/)\x{22}']|\.\.|$)|https?://www(?:[\s/]|$)",
        r"https?://(?:link|url|website|insert|your|example|placeholder)[a-z_-]*(?:[\s/)\],]|\.?$)",
        r"https?://[^\s/]*(?:https?://|\.\.|[,;!])[^\s/]*\.[a-z]",
        r"https?://[^\s/]+\.(?:con|cmo|ocm|ogr|nte|example|invalid|test)(?:[\s/)\],.]|$)",
        r"https?://https?",
        (
            r"(?:youtube\.com/watch\?v=|youtu\.be/|amazon\.\w+/dp/|bit\.ly/)"
            r"(?:x{3,}|abc|12345|example|your|\.\.\.|\[|<)"
        ),
        r"https?://[^\s)]+/(?:path/to|link-to|your-|insert-|placeholder|xxxx|1234567890?\b)",
    )
)


def urls(column: str, min: int = 0, max: int | None = None) -> pl.Expr:
    """Keep rows whose `column` has at least `min` and at most `max` links."""
    if max is None and min == 0:
        raise ValueError("give min, max or both")
    if max is not None and max < min:
        raise ValueError(f"min is {min} and max is {max}, so no row could be kept")
    count = pl.col(f"{column}::text").str.count_matches(_URL.replace(r"\b", _EDGE))
    return count >= min if max is None else count.is_between(min, max)


def no_links_to(column: str, domains: list[str]) -> pl.Expr:
    """Keep rows whose `column` has no links to these `domains` or to their subdomains."""
    wrong = [domain for domain in domains if not re.fullmatch(r"(?i)[a-z0-9.-]*[a-z0-9]", domain)]
    if wrong or not domains:
        raise ValueError(
            f"{wrong[0]!r} is not a domain; write it as example.org"
            if wrong
            else "give at least one domain"
        )
    names = "|".join(re.escape(domain.strip(".")) for domain in domains)
    link = rf"(?i)(?:https?://(?:[^\s/@]*@)?|{_EDGE}www\.)(?:[a-z0-9-]+\.)*(?:{names})"
    end = r"(?:[^a-z0-9.-]|\.?$|\.[^a-z0-9])"
    return pl.col(f"{column}::text").str.count_matches(link + end) == 0


def no_dead_urls(column: str) -> pl.Expr:
    """Keep rows whose `column` has no link that looks made up. No link is opened.

    Made-up links lead to `example.com`, `yourwebsite.com` and similar names, have no host or a
    placeholder for it ("https://[link]"), or have a mistyped ending.
    """
    text = pl.col(f"{column}::text")
    dead = text.str.extract(f"(?i){_DEAD}".replace(r"\b", _EDGE), 0)
    return dead.is_null() & text.is_not_null()
