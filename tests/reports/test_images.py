"""Images of the card are drawn from the manifest, and hold nothing but what they draw."""

import json
import xml.etree.ElementTree as ET

import pytest

from conftest import Folder
from soupstock.artifacts.manifest import Manifest
from soupstock.reports.card.images import add_images, images
from soupstock.testing import Server

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def manifest(folder: Folder, server: Server) -> Manifest:
    del server
    return folder.run().manifest


def parsed(image: str) -> ET.Element:
    return ET.fromstring(image)  # noqa: S314 - our own text


def texts(image: str) -> list[str]:
    return ["".join(one.itertext()) for one in parsed(image).iter(f"{SVG}text")]


def test_a_bar_for_each_step_is_as_long_as_its_rows(manifest: Manifest) -> None:
    image = images(manifest)["images/rows.svg"]
    steps = [("source", manifest.rows), *((step.label, step.rows_kept) for step in manifest.steps)]
    assert texts(image) == [part for label, rows in steps for part in (label, f"{rows:,}")]
    widths = [float(bar.attrib["width"]) for bar in parsed(image).iter(f"{SVG}rect")]
    for width, (_, rows) in zip(widths, steps, strict=True):
        assert width == pytest.approx(widths[0] * rows / manifest.rows, abs=0.1)


def test_scores_are_drawn_where_there_are_some(manifest: Manifest) -> None:
    drawn = images(manifest)
    spread = manifest.scores[0].kept
    assert spread is not None
    assert texts(drawn["images/scores.svg"]) == ["quality", f"{spread.median:.2f}"]
    scale, shown, middle = parsed(drawn["images/scores.svg"]).iter(f"{SVG}line")
    zero, one = (float(scale.attrib[end]) for end in ("x1", "x2"))
    for value, x in (
        (spread.lowest, shown.attrib["x1"]),
        (spread.highest, shown.attrib["x2"]),
        (spread.median, middle.attrib["x1"]),
    ):
        assert float(x) == pytest.approx(zero + value * (one - zero), abs=0.1)
    assert "images/scores.svg" not in images(manifest.model_copy(update={"scores": ()}))


def test_hostile_labels_are_texts_and_nothing_else(manifest: Manifest) -> None:
    label = "</text><script>alert(1)</script>\x1b\u202e" + "long " * 100
    data = json.loads(manifest.model_dump_json())
    data["steps"][0]["label"] = label
    data["scores"][0]["column"] = label
    plain, hostile = images(manifest), images(Manifest.model_validate(data))
    for name, image in hostile.items():
        kinds = [one.tag for one in parsed(image).iter()]
        assert kinds == [one.tag for one in parsed(plain[name]).iter()]
        assert not {"\x1b", "\u202e"} & set(image)
        assert max(map(len, texts(image))) <= 56


def test_a_card_shows_them_under_their_headings(manifest: Manifest) -> None:
    card = "# mine\n\n## How the judge scored it\n\ntable\n"
    shown = add_images(card, images(manifest))
    assert "## How the judge scored it\n\n![Scores of the dataset's rows, from 0 to 1: " in shown
    assert "rows.svg" not in shown
