"""Text that was decoded with the wrong encoding."""

import polars as pl

# What the bytes 80 to BF become in Latin-1, and in Windows-1252.
_TRAIL = (
    r"[\x{80}-\x{BF}\x{20AC}\x{201A}\x{192}\x{201E}\x{2026}\x{2020}\x{2021}\x{2C6}\x{2030}\x{160}"
    r"\x{2039}\x{152}\x{17D}\x{2018}\x{2019}\x{201C}\x{201D}\x{2022}\x{2013}\x{2014}\x{2DC}"
    r"\x{2122}\x{161}\x{203A}\x{153}\x{17E}\x{178}]"
)
_MOJIBAKE = "|".join(
    (
        # Latin letters with accents, and no-break spaces.
        rf"[\x{{C2}}\x{{C3}}]{_TRAIL}|\x{{C3}}[ ]?\x{{192}}",
        # Curly quotes, dashes, dots, signs: "â€™".
        r"\x{E2}(?:\x{20AC}|\x{80})[\x{80}-\x{BF}\x{153}\x{2122}\x{201C}\x{201D}\x{2DC}\x{A6}]",
        rf"\x{{E2}}(?:[\x{{80}}-\x{{8F}}\x{{201A}}\x{{201E}}\x{{2020}}\x{{2C6}}]){_TRAIL}",
        # The replacement character and the byte order mark, decoded twice.
        r"\x{EF}\x{BF}\x{BD}|\x{EF}\x{BB}\x{BF}",
        # Emoji.
        r"\x{F0}(?:\x{178}|\x{9F})",
        # Greek, Cyrillic; other alphabets.
        rf"(?:[\x{{CE}}\x{{CF}}\x{{D0}}\x{{D1}}]{_TRAIL}){{2,}}",
        rf"(?:[\x{{E0}}-\x{{EF}}]{_TRAIL}{{2}}){{2,}}",
    )
)
_LOST = r"[\x{FFFD}\x{FFFE}\x{FFFF}]"
_CONTROL = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x{9F}]"
_DAMAGE = f"{_LOST}|{_CONTROL}|{_MOJIBAKE}"


def no_encoding_damage(column: str) -> pl.Expr:
    """Keep rows whose `column` has no encoding damage.

    Damage is a replacement character (U+FFFD), a control character other than line ends and tabs,
    or UTF-8 read as Windows-1252 or Latin-1 ("donâ€™t", "cafÃ©").
    """
    return pl.col(f"{column}::text").str.count_matches(_DAMAGE) == 0
