"""Documents become chunks: rows to start from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.rows.documents import Paragraph, chunks, read_document
from soupstock.testing import Server

READ = """\
source: {documents: texts, characters: 200}
models: {writer: test}
steps:
  - generate: question
    model: writer
    prompt: ask
"""


def texts(file: Path) -> list[str]:
    return [one.text for one in read_document(file).paragraphs if not one.is_heading]


def test_markdown_is_read_as_headings_and_paragraphs_with_code_whole(tmp_path: Path) -> None:
    file = tmp_path / "bread.md"
    file.write_text(
        "---\ntitle: x\n---\n# Bread\n\nKnead\nit.\n\n```\n# no heading\n\nbake()\n```\n"
        "## Time\nWait.\n"
    )
    read = read_document(file)
    assert read.title == "Bread"
    assert list(read.paragraphs) == [
        Paragraph("Bread", is_heading=True),
        Paragraph("Knead\nit."),
        Paragraph("```\n# no heading\n\nbake()\n```"),
        Paragraph("Time", is_heading=True),
        Paragraph("Wait."),
    ]


def test_html_is_read_without_what_stands_around_the_text(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        "<title>Rye &amp; wheat</title><nav>Home</nav><script>x()</script>"
        "<h1>Flour</h1><p>Rye is <b>dark</b>.<p>Wheat is not.<footer>Imprint</footer>"
    )
    assert read_document(file).title == "Rye & wheat"
    assert texts(file) == ["Rye is dark.", "Wheat is not."]


def test_plain_text_has_its_files_name_for_a_title(tmp_path: Path) -> None:
    file = tmp_path / "old_rules.txt"
    file.write_text("One\nrule.\n\n\nAnother.")
    assert read_document(file).title == "old rules"
    assert texts(file) == ["One rule.", "Another."]


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    file = tmp_path / "paper.pdf"
    file.write_bytes(pdf("Bread is baked.", "Soup is boiled."))
    assert texts(file) == ["Bread is baked.", "Soup is boiled."]


def pdf(*pages: str) -> bytes:
    """Write a PDF with a line on each page."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]"
        fonts = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"{page} {fonts} /Contents {5 + 2 * number} 0 R >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer << /Size {size} /Root 1 0 R >>\n"
    return body + f"{end}startxref\n{len(body)}\n%%EOF\n".encode()


def test_a_chunk_reaches_over_no_heading() -> None:
    told = [Paragraph("A", is_heading=True), Paragraph("one"), Paragraph("two")]
    told += [Paragraph("B", is_heading=True), Paragraph("three")]
    assert list(chunks(told, 100)) == [("A", "one\n\ntwo"), ("B", "three")]


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    text = "This is the first. This is the second one. And this is the third."
    assert [piece.text for piece in chunks([Paragraph(text)], 45)] == [
        "This is the first. This is the second one.",
        "And this is the third.",
    ]


@given(st.lists(st.text(alphabet="ab. \n", max_size=80), max_size=8), st.integers(5, 60))
def test_chunks_are_short_enough_and_lose_no_letter(parts: list[str], most: int) -> None:
    made = [piece.text for piece in chunks([Paragraph(part) for part in parts], most)]
    assert all(0 < len(text) <= most for text in made)
    assert "".join("".join(made).split()) == "".join("".join(parts).split())


def test_a_folder_of_documents_becomes_rows(folder: Folder, server: Server) -> None:
    folder.write("texts/a.md", "# Bread\n\nKnead it.\n\n## Oven\n\nBake it.")
    folder.write("texts/deep/b.txt", "Soup.")
    folder.write("texts/.hidden/c.txt", "Nothing.")
    folder.write("texts/d.csv", "x\n1\n")
    folder.write("pipelines/mine.yaml", READ)
    folder.write("prompts/ask.md", "{{ title }} / {{ section }}: {{ chunk }}")
    done = folder.run()
    assert done.manifest.source.rows == 3
    assert {request.prompt for request in server.requests} == {
        "Bread / Bread: Knead it.",
        "Bread / Oven: Bake it.",
        "b / : Soup.",
    }


def test_an_edited_document_is_another_plan(folder: Folder, server: Server) -> None:
    folder.write("texts/a.txt", "Soup.")
    folder.write("pipelines/mine.yaml", READ)
    folder.write("prompts/ask.md", "{{ chunk }}")
    first = folder.plan().fingerprint
    folder.write("texts/a.txt", "Soup!")
    assert folder.plan().fingerprint != first
    assert not server.count


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no file 'texts'"),
        ({"texts/a.csv": "x"}, r"has no documents \(.txt, .md"),
        ({"texts/a.txt": "  \n"}, "there is no text in 'texts'"),
        ({"texts": "x"}, "is not a document"),
        ({"texts/a.pdf": "no"}, "PDF"),
    ],
)
def test_documents_that_cannot_be_read_are_a_mistake(
    folder: Folder, server: Server, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        folder.write(name, text)
    folder.write("pipelines/mine.yaml", READ)
    with pytest.raises(MistakeError, match=said):
        folder.plan()
    assert not server.count
