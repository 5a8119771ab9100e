"""Make rows that repeat each other, and the truth about them, from a seed and by exact methods.

Sentences of the machine's prose (essays, handbooks, manual pages, docstrings, packages'
descriptions) are combined into rows of about 100 words; three in ten rows are edited copies of
others. Nothing here uses the measured code.
"""

import gzip
import math
import random
import re
import shutil
import subprocess
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import prose

GRAM = 3
PLANTED = 0.3
"""The share of rows that repeat another."""

_FEWEST, _MOST = 5, 60
"""The spaces in a sentence."""

_CROWD = 200
"""How many rows are repeated many times, by a tenth of the repeats."""

_ESCAPE = re.compile(r"\\f[A-Z]|\\f\([A-Z]{2}|\\[&|^/,]|\\\*?\[[^]]*\]|\\s[-+]?\d")

Row = frozenset[tuple[str, ...]]


class Rows(NamedTuple):
    """Texts, how each was made, and the row that it repeats (-1 for none)."""

    texts: list[str]
    kinds: list[str]
    sources: list[int]


def rows(count: int, seed: int = 7) -> Rows:
    """Make `count` rows, in random order."""
    draw = random.Random(seed)  # noqa: S311 - planted edits are no secret
    pool = _sentences()
    fresh = round(count * (1 - PLANTED))
    texts = [" ".join(draw.choices(pool, k=_length(draw))) for _ in range(fresh)]
    kinds, sources = ["original"] * fresh, [-1] * fresh
    for n in range(count - fresh):
        source = draw.randrange(min(_CROWD, fresh) if n % 10 == 0 else fresh)
        kind = list(_EDITS)[n % len(_EDITS)]
        texts.append(_EDITS[kind](texts[source], draw))
        kinds.append(kind)
        sources.append(source)
    order = draw.sample(range(count), count)
    place = {old: new for new, old in enumerate(order)}
    return Rows(
        [texts[old] for old in order],
        [kinds[old] for old in order],
        [place.get(sources[old], -1) for old in order],
    )


def _length(draw: random.Random) -> int:
    return min(20, max(1, int(draw.lognormvariate(1.85, 0.45))))


@cache
def _sentences() -> list[str]:
    found: dict[str, None] = {}
    for text in (*prose.rows(10**6), *_manual_pages(), *_packages()):
        flowed = " ".join(text.split())
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", flowed):
            if _FEWEST <= sentence.count(" ") <= _MOST:
                found[sentence] = None
    return list(found)


def _manual_pages() -> Iterator[str]:
    for page in sorted(Path("/usr/share/man").glob("man[1-8]/*.gz")):
        raw = gzip.decompress(page.read_bytes()).decode(errors="replace")
        plain = re.sub(r"(?m)^['.](PP|TP|SH|IP|P)\b.*$", "\n", raw)
        plain = _ESCAPE.sub("", re.sub(r"(?m)^['.].*\n?", "", plain))
        plain = plain.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(bu", "")
        yield from (part for part in re.split(r"\n\s*\n", plain) if "\\" not in part)


def _packages() -> Iterator[str]:
    if shutil.which("apt-cache"):
        listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False)  # noqa: S607 - found in PATH
        for text in re.findall(rb"(?m)^Description: (.+)$", listed.stdout):
            yield text.decode(errors="replace") + "."


def _changed(share: float) -> Callable[[str, random.Random], str]:
    """Replace, insert and delete words."""

    def change(text: str, draw: random.Random) -> str:
        words = text.split()
        for _ in range(max(1, round(len(words) * share))):
            at = draw.randrange(len(words))
            match draw.choices(("replace", "insert", "delete"), (6, 2, 2))[0]:
                case "replace":
                    words[at] = draw.choice(draw.choice(_sentences()).split())
                case "insert":
                    words.insert(at, draw.choice(draw.choice(_sentences()).split()))
                case _ if len(words) > 1:
                    del words[at]
        return " ".join(words)

    return change


def _reordered(text: str, draw: random.Random) -> str:
    sentences = text.split(". ")
    one, other = draw.randrange(len(sentences)), draw.randrange(len(sentences))
    sentences[one], sentences[other] = sentences[other], sentences[one]
    return ". ".join(sentences)


_EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "copy": lambda text, _: text,
    "2 % of words": _changed(0.02),
    "5 % of words": _changed(0.05),
    "10 % of words": _changed(0.10),
    "20 % of words": _changed(0.20),
    "reordered": _reordered,
    "case": lambda text, draw: draw.choice((text.upper(), text.title())),
    "punctuation": lambda text, _: text.replace(" ", "  ").replace(",", " ;"),
    "truncated": lambda text, draw: text[: int(len(text) * draw.uniform(0.6, 0.98))],
}


@cache
def _spaced(letter: str) -> str:
    """Put spaces around ideographs, and replace all but letters, marks and numbers by spaces."""
    if unicodedata.category(letter)[0] not in "LMN":
        return " "
    unspaced = re.match(
        r"CJK|HIRAGANA|KATAKANA|THAI|LAO|KHMER|MYANMAR", unicodedata.name(letter, "")
    )
    return f" {letter} " if unspaced else letter


def shingled(text: str) -> Row:
    """Return a text's word 3-grams, or its words if it has fewer than three."""
    words = "".join(map(_spaced, unicodedata.normalize("NFKC", text).casefold())).split()
    size = GRAM if len(words) >= GRAM else 1
    return frozenset(tuple(words[n : n + size]) for n in range(len(words) - size + 1))


def jaccard(one: Row, other: Row) -> float:
    """Return the Jaccard similarity of two texts' shingles."""
    return len(one & other) / max(1, len(one | other))


def planted_pairs(made: Rows, threshold: float) -> list[tuple[int, int]]:
    """Return the edited rows that are still similar to their source, each with its source."""
    return [
        (row, source)
        for row, source in enumerate(made.sources)
        if source >= 0
        and jaccard(shingled(made.texts[row]), shingled(made.texts[source])) >= threshold
    ]


def all_pairs(texts: Sequence[str], threshold: float) -> list[tuple[int, int]]:
    """Return every pair of similar texts: an exact join.

    Two similar sets share one of their rarest members (prefix filtering, Chaudhuri 2006): only
    pairs that do so are compared.
    """
    sets = [shingled(text) for text in texts]
    often = Counter(member for row in sets for member in row)
    seen: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    pairs = []
    for row, members in enumerate(sets):
        rarest = sorted(members, key=lambda member: (often[member], member))
        first = rarest[: len(members) - math.ceil(threshold * len(members) - 1e-9) + 1]
        others = {other for member in first for other in seen[member]}
        pairs += [(row, other) for other in others if jaccard(members, sets[other]) >= threshold]
        for member in first:
            seen[member].append(row)
    return pairs


class Quality(NamedTuple):
    """How well duplicates were found."""

    recall: float
    """The share of similar pairs that are not both kept."""

    precision: float
    """The share of dropped rows that are similar to another row."""


def judge(dropped: Iterable[int], pairs: Iterable[tuple[int, int]]) -> Quality:
    """Compare the dropped rows with the similar pairs."""
    gone, true = set(dropped), list(pairs)
    alike = {row for pair in true for row in pair}
    found = sum(one in gone or other in gone for one, other in true)
    return Quality(found / max(1, len(true)), len(gone & alike) / max(1, len(gone)))
