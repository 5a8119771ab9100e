"""Show in a terminal what datasets share."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from soupstock.artifacts.decontamination import UNASKED
from soupstock.artifacts.overlap import CorpusRecord, OverlapRecord, SharedRowsRecord
from soupstock.cli.display.terminal import cell, new_console, new_table
from soupstock.dataset.mix import Mixed
from soupstock.errors import shown

_EXCERPT = 160
_WAYS = {"same": "the same", "near": "nearly the same", "meaning": "alike in meaning"}


def show_overlap(found: OverlapRecord) -> None:
    """Print what datasets share, and what speaks against merging their fine-tunes."""
    console = new_console()
    console.print(_datasets(found))
    for line in (*_formats(found), _anchor(found)):
        console.print(Text(shown(line)), soft_wrap=True)
    console.print()
    console.print(_crossings(found))
    for line in (*_examples(found), *_notes(found)):
        console.print(Text(shown(line)), soft_wrap=True)
    console.print()
    for warning in found.warnings:
        console.print(Text(f"warning: {shown(warning)}"), style="yellow", soft_wrap=True)
    if not found.warnings:
        console.print("nothing here speaks against merging the models trained on them")


def _datasets(found: OverlapRecord) -> Table:
    right = ("rows", "anchor", "others")
    table = new_table("dataset", *right, right=right)
    for one in found.datasets:
        counts = (one.rows, one.anchor, one.rows - one.anchor)
        table.add_row(Text(shown(one.name)), *(f"{n:,}" for n in counts))
    return table


def _formats(found: OverlapRecord) -> Iterator[str]:
    """Say system prompt and shape: once, if they are the same in all datasets."""
    systems = {one.name: _system(one) for one in found.datasets}
    shapes = {one.name: " and ".join(one.shapes) for one in found.datasets}
    for what, values in (("system prompt", systems), ("shape", shapes)):
        is_common = len(set(values.values())) == 1
        lines = {"all": next(iter(values.values()))} if is_common else values
        yield from (f"{what} of {name}: {text}" for name, text in lines.items())


def _system(one: CorpusRecord) -> str:
    if one.system_prompts > 1:
        return f"{one.system_prompts:,} different ones"
    text = one.systems[0].text if one.systems else None
    if text is None:
        return "none"
    return text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else "")


def _anchor(found: OverlapRecord) -> str:
    if found.anchor is None:
        return (
            "anchor: none; name one with --anchor, or give three or more datasets that share rows"
        )
    return f"anchor: {found.anchor}, {found.anchor_rows:,} different rows"


def _crossings(found: OverlapRecord) -> Table:
    right = ("same", "near", "meaning", "prompts", "overlap", "words")
    table = new_table("rows of", "in", *right, right=right)
    words = {(pair.one, pair.other): pair.words for pair in found.apart}
    for one in found.crossings:
        apart = words.get((one.of, one.within))
        table.add_row(
            Text(shown(one.of)),
            Text(shown(one.within)),
            f"{one.same:,}",
            f"{one.near:,}",
            "" if one.meaning is None else f"{one.meaning:,}",
            f"{one.prompts:,}",
            f"{one.share:.1%}",
            "" if apart is None else f"{apart:.2f}",
        )
    return table


def _examples(found: OverlapRecord) -> Iterator[str]:
    for one in found.crossings[::2]:
        if one.examples:
            yield _example(one)


def _example(one: SharedRowsRecord) -> str:
    first = one.examples[0]
    alike = _WAYS[first.kind] + (f", {first.similarity:.2f}" if first.kind != "same" else "")
    text = " ".join(first.text.split())
    return f"row {first.row:,} of {one.of}, row {first.twin:,} of {one.within} ({alike}): {text}"


def _notes(found: OverlapRecord) -> Iterator[str]:
    halves = [one.within for one in found.datasets if one.within is not None]
    if halves:
        yield (
            "words: the distance of the two vocabularies, 0 (the same) to 1 (no word in common);"
            f" between two halves of one of these datasets it is {min(halves):.2f} to"
            f" {max(halves):.2f}"
        )
    if found.unmeasured:
        yield f"meaning: not compared; {found.unmeasured}"
    for pair in found.apart:
        if pair.sources is not None:
            yield f"source rows of both {pair.one} and {pair.other}: {pair.sources:,}"


def show_mixed(done: Mixed) -> None:
    """Print how many rows each run gave, and where the mix is."""
    console, record = new_console(), done.record
    for one in record.ingredients:
        counts = f"{one.repeats:,} repeats, {one.contaminated:,} contaminated"
        line = f"{one.name}: {one.taken:,} of {one.rows:,} rows ({counts})"
        console.print(cell(line), soft_wrap=True)
    if any(one.is_unasked for one in record.decontamination):
        console.print(f"decontaminate: {UNASKED}", soft_wrap=True)
    console.print(cell(f"{record.dataset.rows:,} rows in {done.folder}"), soft_wrap=True)
