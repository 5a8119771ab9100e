"""Stock phrases at the beginning and the end of answers."""

import polars as pl

# An ASCII word boundary: a Unicode one makes the search many times slower.
_EDGE = r"(?-u:\b)"

_BEGINNING, _END = 200, 300
"""How far from the beginning and the end to look for stock phrases, in characters."""

_A = r"['\x{2019}]"
_YES = (
    r"(?:certainly|sure(?: thing)?|of course|absolutely|definitely|gladly|with pleasure"
    r"|no problem|by all means|understood|got it|(?:ok|okay|alright|yes),? (?:sure|certainly))"
)
_FINE = (
    r"(?:great|good|excellent|interesting|fantastic|wonderful|thoughtful|fascinating|awesome"
    r"|important|nice|lovely|perfect)"
)
_ASKED = r"(?:question|idea|choice|topic|request|prompt|point|task|challenge)"
_GLAD = r"(?:(?:very |so |more than )?(?:happy|glad|delighted|pleased)|thrilled|excited) to"
_OPENING = "|".join(
    (
        # "Certainly!", "Sure, here is", "Of course. I"
        rf"{_YES} ?(?:!|[.,:\x{{2013}}\x{{2014}}-]+ (?:here|below|I\b|I{_A}|let{_A}?s?\b|allow))",
        (
            rf"(?:(?:that(?:{_A}s| is)|what|this is) (?:such )?an? |)"
            rf"(?:(?:very|really|truly) )?{_FINE} {_ASKED}\b"
        ),
        (
            rf"I(?: am|{_A}m|{_A}d be| would be|{_A}ll be| will be) {_GLAD} (?:help|assist|provide"
            r"|explain|share|answer|create|write|offer|walk)"
        ),
        r"I can (?:certainly|definitely|absolutely|surely) (?:help|assist|do|provide)",
        (
            rf"(?:here(?:{_A}s| is| are) (?:your|(?:the|an?) (?:requested|revised|rewritten|updated"
            r"|possible|sample|potential|polished|suggested|detailed) ))"
        ),
        r"(?:as (?:you )?requested|as per your request|based on your request|per your request)\b",
        (
            r"thank(?:s| you) (?:so much |very much )?for (?:your (?:question|request|message"
            r"|inquiry|prompt)|asking|reaching out|providing|sharing)"
        ),
        (
            r"(?:hello|hi|hey|greetings)(?: there)?[!,.] (?:how (?:can|may) I (?:help|assist)"
            rf"|I(?:{_A}m| am) (?:here|{_GLAD}|your))"
        ),
        rf"let{_A}s (?:dive|delve) (?:right )?in",
    )
)
_CLOSING = "|".join(
    (
        (
            r"I hope (?:this|that|these|it|you (?:find|found) th)[^.!?\n]{0,60}"
            r"(?:helps?|helpful|useful|clear|answers?)"
        ),
        r"(?:please |do |just )?let me know (?:if|how|what|whether|when)\b",
        (
            r"(?:please |do )?feel free to (?:ask|reach|contact|let me|share|message|adjust|modify"
            r"|customi[sz]e)"
        ),
        rf"(?:please )?(?:do not|don{_A}t) hesitate to (?:ask|reach|contact|let)",
        (
            r"if you (?:have|need) (?:any|more|other|further|additional|some) (?:\w+ ){0,2}?"
            r"(?:questions|help|assistance|information|details|concerns|clarification)"
        ),
        r"is there (?:anything|something) else (?:I can|you)",
        rf"I(?:{_A}m| am|{_A}d be| would be) (?:always )?(?:here|{_GLAD}) (?:to )?(?:help|assist)",
        r"would you like (?:me to|to know more|more (?:details|information))",
    )
)


def no_stock_opening(column: str) -> pl.Expr:
    """Keep rows whose `column` does not begin with a stock phrase.

    English only: "Certainly! Here is", "Great question!", "I'd be happy to help", "As requested".
    In a conversation none of the assistant's turns may begin with one.
    """
    beginning = pl.element().str.head(_BEGINNING)
    pattern = rf"(?i)^\W*(?:{_OPENING})".replace(r"\b", _EDGE)
    return _found(column, beginning.str.extract(pattern, 0))


def no_stock_closing(column: str) -> pl.Expr:
    """Keep rows whose `column` does not end with an offer of further help.

    English only, in the last line: "I hope this helps!", "Let me know if you have any
    other questions". In a conversation none of the assistant's turns may end with one.
    """
    end = pl.element().str.strip_chars_end().str.tail(_END)
    pattern = rf"(?i)\b(?:{_CLOSING})\b[^\n]*$".replace(r"\b", _EDGE)
    return _found(column, end.str.extract(pattern, 0))


def _found(column: str, phrase: pl.Expr) -> pl.Expr:
    """Keep rows in which no turn has the phrase."""
    found = pl.col(f"{column}::turns").list.eval(phrase).list.drop_nulls().list.first()
    return found.is_null() & pl.col(f"{column}::text").is_not_null()
