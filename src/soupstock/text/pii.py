"""Find personal data and secrets: addresses, numbers, keys.

A regular expression proposes candidates; a checksum or a register then decides, if there is one.
Knows no columns and no filters.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

# A word boundary among ASCII letters: among those of all scripts, the search is much slower.
_EDGE = r"(?-u:\b)"

# Addresses in examples (RFC 2606), which belong to nobody.
_EXAMPLE = re.compile(
    r"^git@|@(?:.*\.)?(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE
)
_EMAIL = r"(?i)\b[a-z0-9][a-z0-9._%+-]*@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}\b"

# A run of digits in groups, and the groups in which people write a telephone number.
_DIGITS = r"[+(]{0,2}\b\d(?:\)?[ .\x{A0}/-]?\(?\d){6,}\b"
_PHONE = re.compile(
    r"(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?)+"
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[ .-]\d{4}"
    r"|\(0\d{1,4}\) ?\d{2,5}(?:[ -]\d{2,5}){0,2}"
    r"|0[1-9]\d{1,3}[ /-]\d{3,4}[ -]?\d{3,5}|0[1-9](?: \d\d){4}"
)
_FEWEST_DIGITS, _MOST_DIGITS = 8, 15

_IBAN = r"\b[A-Z]{2}\d{2}(?:[ \x{A0}]?[A-Z0-9]{2,4}){3,8}\b"
# The length of each country's numbers, by the register of ISO 13616.
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS = {
    country: length
    for length, countries in _IBAN_COUNTRIES.items()
    for country in countries.split()
}

_CARD = r"\b[2-6]\d{3}(?:[ -]?\d){8,15}\b"
# Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay.
_ISSUED = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|(?:6011|65\d\d|64[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)

# The number of a section or version looks like an address; the word before it rules it out.
_IP = (
    r"(?i:\b(?:sections?|chapter|versions?|v|release|revision)[ .]{0,2})?"
    r"\b(?:\d{1,3}\.){3}\d{1,3}\b"
    r"|(?i:\b[0-9a-f]{1,4}:(?:[0-9a-f]{0,4}:){1,6}(?:[0-9a-f]{1,4}\b)?)"
)

# The formats of keys, which services publish for scanners.
_KEYS = (
    r"hf_[A-Za-z]{30,40}",  # Hugging Face
    r"sk-(?:proj-|svcacct-|admin-|ant-[a-z0-9]+-|or-v1-)?[A-Za-z0-9_-]{32,}",  # OpenAI, Anthropic
    r"gh[pousr]_[A-Za-z0-9]{36,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{50,}",
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",  # Amazon
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"ya29\.[A-Za-z0-9_-]{30,}",
    r"GOCSPX-[A-Za-z0-9_-]{28}",
    r"xox[abeoprs]-[A-Za-z0-9-]{20,}",  # Slack
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{20,}",  # Stripe
    r"whsec_[A-Za-z0-9]{32,}",
    r"SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}",  # SendGrid
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgE[A-Za-z0-9_-]{50,}",
    r"dop_v1_[a-f0-9]{64}",  # DigitalOcean
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",  # Shopify
    r"(?:SK|AC)[a-f0-9]{32}\b",  # Twilio
    r"gsk_[A-Za-z0-9]{40,}",  # Groq
    r"\d{8,10}:AA[A-Za-z0-9_-]{33}",  # Telegram
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # a JSON web token
)
_SECRET = (
    rf"\b(?:{'|'.join(_KEYS)})"
    r"|-----BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    r"|https://hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]+"
    r"|\b[a-z][a-z0-9+]{1,20}://[^\s:/@<>{}$*]+:[^\s:/@<>{}$*]{4,}@[a-zA-Z0-9.-]+"
    r"|\bAccountKey=[A-Za-z0-9+/]{40,}={0,2}"
)


@dataclass(frozen=True)
class Identifier:
    """A kind of personal data or secret."""

    pattern: str
    """Proposes candidates; in the regex syntax of polars."""
    confirms: Callable[[str], bool] | None = None
    """Decides on a candidate; None accepts all."""

    def find(self, text: str) -> list[str]:
        """Return the identifiers in a text, in order."""
        pattern = self.pattern.replace(r"\b", _EDGE)
        found: list[str] = pl.Series([text]).str.extract_all(pattern)[0].to_list()
        return [one for one in found if self.confirms is None or self.confirms(one)]

    def count(self, texts: pl.Series) -> pl.Series:
        """Count the identifiers in each text; null for null."""
        pattern = self.pattern.replace(r"\b", _EDGE)
        numbers = texts.str.count_matches(pattern)
        proposed = (numbers > 0).arg_true()
        if self.confirms is None or proposed.is_empty():
            return numbers
        found = texts.gather(proposed).str.extract_all(pattern).to_list()
        confirmed = [sum(map(self.confirms, candidates)) for candidates in found]
        return numbers.scatter(proposed, pl.Series(confirmed, dtype=numbers.dtype))


def is_card(candidate: str) -> bool:
    """Tell whether digits are a payment card's number: an issuer's, with a valid Luhn checksum."""
    digits = _digits(candidate)
    if not _ISSUED.fullmatch(digits):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def iban_length(candidate: str) -> int:
    """Return the length of an account number in its country, by its first two letters; or 0."""
    return _IBAN_LENGTHS.get(candidate[:2], 0)


def is_iban(candidate: str) -> bool:
    """Tell whether letters and digits begin with an account number with a valid checksum."""
    text = re.sub(r"\s", "", candidate)
    length = iban_length(text)
    if not length or len(text) < length:
        return False
    rotated = text[4:length] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in rotated)) % 97 == 1


def _is_person(candidate: str) -> bool:
    return _EXAMPLE.search(candidate) is None


def _is_phone(candidate: str) -> bool:
    written = candidate.replace("\N{NO-BREAK SPACE}", " ")
    return (
        _FEWEST_DIGITS <= len(_digits(written)) <= _MOST_DIGITS
        and _PHONE.fullmatch(written) is not None
    )


def _is_public(candidate: str) -> bool:
    """Tell whether an address is one of the public internet, not a private one or an example."""
    try:
        return ipaddress.ip_address(candidate).is_global
    except ValueError:
        return False


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter in "0123456789")


IDENTIFIERS: Mapping[str, Identifier] = {
    "emails": Identifier(_EMAIL, _is_person),
    "phones": Identifier(_DIGITS, _is_phone),
    "ibans": Identifier(_IBAN, is_iban),
    "cards": Identifier(_CARD, is_card),
    "ips": Identifier(_IP, _is_public),
    "secrets": Identifier(_SECRET),
}
"""The kinds of identifiers, by the name of their measure."""
