"""Read documents (text, Markdown, HTML, PDF) and split them into chunks: the first rows.

A chunk is made of whole paragraphs, as many as fit, and never crosses a heading. A paragraph that
is longer than a chunk is split after a sentence.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import polars as pl

from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.rows.sources import BLOCK, Block, Source, find_path
from soupstock.spec.source import DocumentSource

SUFFIXES = (".txt", ".md", ".markdown", ".html", ".htm", ".pdf")

COLUMNS = {
    "document": pl.String(),
    "title": pl.String(),
    "section": pl.String(),
    "part": pl.Int64(),
    "chunk": pl.String(),
}
"""The columns of a row: the file's path in the given folder, the document's title, the heading
above the chunk, the chunk's number in the document from 1, and its text."""

PDF_NEEDED = "to read PDF files: pip install 'soupstock[documents]'"


class Paragraph(NamedTuple):
    """A paragraph, or a heading."""

    text: str
    is_heading: bool = False


class Document(NamedTuple):
    """The content of a file."""

    title: str
    paragraphs: Sequence[Paragraph]


class Chunk(NamedTuple):
    """A piece of a document, and the heading above it."""

    section: str
    text: str


def read_documents(source: DocumentSource, roots: Sequence[Path], place: Place | None) -> Source:
    """Read a document, or all documents in a folder; raises MistakeError.

    A relative path starts at the first of `roots` that contains it.
    """
    found = next((path for root in roots if (path := find_path(source.documents, root))), None)
    if found is None:
        where = shown(roots[0])
        raise MistakeError(f"there is no file {quoted(source.documents)} in {where}", place)
    files = [found] if found.is_file() else sorted(_documents_in(found))
    if not files or (found.is_file() and not _is_document(found)):
        kinds = ", ".join(SUFFIXES)
        what = "is not a document" if found.is_file() else "has no documents"
        raise MistakeError(f"{quoted(source.documents)} {what} ({kinds})", place)
    start = found if found.is_dir() else found.parent
    rows = [row for file in files for row in _rows(file, start, source)]
    if not rows:
        raise MistakeError(f"there is no text in {quoted(source.documents)}", place)
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    count = min(len(rows), source.rows or len(rows))
    return Source("documents", COLUMNS, count, digest, _Chunked(rows), digest)


@dataclass(frozen=True)
class _Chunked:
    rows: Block

    def __iter__(self) -> Iterator[Block]:
        for start in range(0, len(self.rows), BLOCK):
            yield self.rows[start : start + BLOCK]


def _documents_in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and _is_document(path):
            yield path


def _is_document(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _rows(file: Path, start: Path, source: DocumentSource) -> Block:
    read = read_document(file)
    name = file.relative_to(start).as_posix()
    return [
        {
            "document": name,
            "title": read.title,
            "section": piece.section,
            "part": number,
            "chunk": piece.text,
        }
        for number, piece in enumerate(chunks(read.paragraphs, source.characters), 1)
    ]


def read_document(file: Path) -> Document:
    """Read a document; raises MistakeError if it cannot be read."""
    try:
        if file.suffix.lower() == ".pdf":
            return _titled(file, _pdf(file))
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MistakeError(f"it cannot be read: {shown(error)}", Place(file)) from error
    match file.suffix.lower():
        case ".html" | ".htm":
            reader = _Html()
            reader.feed(text)
            reader.close()
            return _titled(file, reader.finish(), reader.title)
        case ".md" | ".markdown":
            return _titled(file, list(_markdown(text)))
        case _:
            return _titled(file, [Paragraph(part) for part in _paragraphs(text)])


def _titled(file: Path, paragraphs: Sequence[Paragraph], title: str = "") -> Document:
    first = next((one.text for one in paragraphs if one.is_heading), "")
    name = file.stem.replace("_", " ").replace("-", " ")
    return Document(title or first or name, paragraphs)


def _paragraphs(text: str) -> Iterator[str]:
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        if lines := " ".join(part.split()):
            yield lines


_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")


def _markdown(text: str) -> Iterator[Paragraph]:
    """Split Markdown into paragraphs; fenced code stays whole, front matter is left out."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text.replace("\r\n", "\n"), flags=re.DOTALL)
    waiting: list[str] = []
    fence = ""
    for line in [*text.split("\n"), ""]:
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        heading = None if fence else _HEADING.match(line)
        if waiting and not fence and (heading or not line.strip()):
            yield Paragraph("\n".join(waiting).strip())
            waiting = []
        if heading:
            yield Paragraph(heading[1], is_heading=True)
        elif line.strip() or fence:
            waiting.append(line)
    if waiting:
        yield Paragraph("\n".join(waiting).strip())


class _Html(HTMLParser):
    """Extracts headings and paragraphs of a page, without navigation, scripts and the like."""

    _LEFT_OUT = frozenset(
        {"script", "style", "nav", "header", "footer", "aside", "form", "noscript"}
    )
    _HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
    _INLINE = frozenset(
        {"a", "abbr", "b", "cite", "code", "em", "i", "kbd", "mark", "q", "s", "small", "span"}
        | {"strong", "sub", "sup", "time", "u", "var", "wbr"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self._found: list[Paragraph] = []
        self._text: list[str] = []
        self._left_out = 0
        self._in_title = False
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag in self._LEFT_OUT:
            self._left_out += 1
        self._in_title = tag == "title"
        if tag not in self._INLINE:
            self._end()
            self._in_heading = tag in self._HEADINGS

    def handle_endtag(self, tag: str) -> None:
        if tag in self._LEFT_OUT:
            self._left_out = max(0, self._left_out - 1)
        self._in_title = False
        if tag not in self._INLINE:
            self._end()
            self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = " ".join(f"{self.title} {data}".split())
        elif not self._left_out:
            self._text.append(data)

    def finish(self) -> list[Paragraph]:
        """Return the paragraphs."""
        self._end()
        return self._found

    def _end(self) -> None:
        if text := " ".join("".join(self._text).split()):
            self._found.append(Paragraph(text, self._in_heading))
        self._text = []


def _pdf(file: Path) -> list[Paragraph]:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise MistakeError(PDF_NEEDED, Place(file)) from error
    try:
        pages = [page.extract_text() for page in PdfReader(file).pages]
    except (PyPdfError, ValueError, KeyError, RecursionError) as error:
        raise MistakeError(f"the PDF cannot be read: {shown(error)}", Place(file)) from error
    text = "\n\n".join(pages)
    # Join words that are hyphenated at the end of a line.
    return [Paragraph(part) for part in _paragraphs(re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", text))]


def chunks(paragraphs: Sequence[Paragraph], most: int) -> Iterator[Chunk]:
    """Combine paragraphs to chunks of at most `most` characters, under their headings."""
    section, size = "", 0
    waiting: list[str] = []
    for paragraph in paragraphs:
        if paragraph.is_heading:
            if waiting:
                yield Chunk(section, "\n\n".join(waiting))
            section, waiting, size = paragraph.text, [], 0
            continue
        for piece in _pieces(paragraph.text, most):
            if waiting and size + len(piece) + 2 > most:
                yield Chunk(section, "\n\n".join(waiting))
                waiting, size = [], 0
            waiting.append(piece)
            size += len(piece) + 2
    if waiting:
        yield Chunk(section, "\n\n".join(waiting))


def _pieces(text: str, most: int) -> Iterator[str]:
    """Split a text after sentences, or after words, so that no piece is longer than `most`."""
    text = text.strip()
    while len(text) > most:
        ends = [match.end() for match in re.finditer(r"[.!?…][\"'”)]*\s", text[:most])]
        words = text.rfind(" ", 1, most)
        cut = ends[-1] if ends else (words if words > 0 else most)
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
