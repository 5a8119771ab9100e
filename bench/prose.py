"""Collect real English prose for the benchmarks, from documents that any machine can have.

These are essays, a handbook, a dictionary and quotations from Debian packages (downloaded once, if
`apt-get` exists), and the documentation of Python and of the installed packages.
"""

import ast
import contextlib
import gzip
import hashlib
import html
import pydoc_data.topics
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

FEWEST, MOST = 20, 400
"""The words of a row."""

_CACHE = Path(tempfile.gettempdir()) / "soupstock-bench-prose"
_SHARE = 0.6
"""The largest share of rows from one source."""


def rows(count: int) -> list[str]:
    """Return different texts, always the same on one machine; fewer than wanted if prose runs out.

    Raises:
        RuntimeError: There is almost no prose.
    """
    most = int(_SHARE * count)
    chosen: dict[str, None] = {}
    for source in _SOURCES.values():
        texts = {text for text in source() if FEWEST <= len(text.split()) <= MOST}
        chosen |= dict.fromkeys(sorted(texts, key=_place)[:most])
    if len(chosen) < FEWEST:
        raise RuntimeError("no prose was found on this machine")
    return sorted(chosen, key=_place)[:count]


def _place(text: str) -> bytes:
    """Shuffle, in the same way each time."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _essays() -> Iterator[str]:
    for file in _package("anarchism").rglob("*.html"):
        page = file.read_text(encoding="utf-8", errors="replace")
        for part in re.findall(r"(?s)<p\b[^>]*>(.*?)(?=<p\b|</p>|</div>|<h\d)", page):
            flowed = _flowed(html.unescape(re.sub(r"<[^>]+>", "", part)))
            if not flowed.endswith(":"):
                yield flowed


def _handbook() -> Iterator[str]:
    for file in _package("debian-reference-en").rglob("*.en.txt.gz"):
        # The links in it have a space after the scheme.
        text = re.sub(r"://\s", "://", gzip.decompress(file.read_bytes()).decode())
        yield from _paragraphs(text)


def _dictionary() -> Iterator[str]:
    for file in _package("dict-jargon").rglob("*.dict.dz"):
        yield from _paragraphs(gzip.decompress(file.read_bytes()).decode())


def _quotations() -> Iterator[str]:
    for file in _package("fortunes").rglob("games/fortunes/*"):
        if file.suffix or file.name in {"ascii-art", "art"}:
            continue
        for text in file.read_text(encoding="utf-8", errors="replace").split("\n%\n"):
            said, _, _ = re.sub(r"(?m)^[ \t]+", "", text).partition("\n-- ")
            # Accents typed as separate characters, people's addresses, and chat logs.
            if not re.search(r"\x08|\S@\S|(?m:^[<*=])", said):
                yield said.strip()


def _manual() -> Iterator[str]:
    for text in pydoc_data.topics.topics.values():
        yield from _paragraphs(text)


def _docstrings() -> Iterator[str]:
    """Yield the paragraphs of the standard library's docstrings."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*/*.py")):
        if "site-packages" in file.parts or "test" in file.parts:
            continue
        with contextlib.suppress(SyntaxError, UnicodeDecodeError):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield from _paragraphs(ast.get_docstring(node) or "")


def _sections() -> Iterator[str]:
    """Yield the sections of the installed packages' descriptions."""
    for package in metadata.distributions():
        described: Any = package.metadata
        kind = described.get("Description-Content-Type") or ""
        text = described.get_payload()
        if isinstance(text, str) and kind.startswith("text/markdown"):
            yield from (part.strip() for part in re.split(r"(?m)^#{2,4} .*$", text))


_SOURCES: dict[str, Callable[[], Iterator[str]]] = {
    "essays": _essays,
    "handbook": _handbook,
    "dictionary": _dictionary,
    "quotations": _quotations,
    "manual": _manual,
    "docstrings": _docstrings,
    "sections": _sections,
}


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs that are sentences, each on one line; not headings, lists or code."""
    for part in re.split(r"\n[ \t]*\n", text):
        flowed = _flowed(part)
        if re.match(r"[A-Z\"\u201c(\u2018']", flowed) and re.search(
            r"[.!?][\"\u201d)\u2019']?$", flowed
        ):
            yield flowed


def _flowed(text: str) -> str:
    return " ".join(text.split())


def _package(name: str) -> Path:
    """Download a Debian package, once, and unpack it; on failure the folder stays empty."""
    place = _CACHE / name
    _CACHE.mkdir(exist_ok=True)
    if not place.is_dir() and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        with tempfile.TemporaryDirectory() as folder:
            fetched = subprocess.run(  # noqa: S603 - names of our own
                ["apt-get", "download", name],  # noqa: S607 - found in PATH
                cwd=folder,
                capture_output=True,
                check=False,
            )
            for file in Path(folder).glob("*.deb") if fetched.returncode == 0 else ():
                subprocess.run(["dpkg-deb", "-x", str(file), str(place)], check=True)  # noqa: S603, S607 - likewise
    return place
