"""Ask a model server for the vectors that a step compares texts by, row by row.

The rows stream through as they do through every step that asks: what is in the store is asked of
nobody, and a row whose text gets no vector is dropped with the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from soupstock.engine.stream import Indexed, Stream
from soupstock.engine.tally import Tally
from soupstock.inference.call import Answering, Ask, Failure
from soupstock.inference.embeddings import Vectors, vector_of
from soupstock.rows.marks import read_kept
from soupstock.rows.rows import Row, dropped, failed
from soupstock.rows.table import PART_ROWS, Gatherer, Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.step import Stage, ToEmbed
from soupstock.text.measures import read_texts


@dataclass
class Asking:
    """The vectors of one step's texts, as they come."""

    label: str
    wanted: ToEmbed
    table: Table
    texts: dict[str, str] = field(default_factory=dict)
    """The rows' texts, by their ids."""
    vectors: dict[str, Vectors] = field(default_factory=dict)
    """The texts' vectors."""

    def __post_init__(self) -> None:
        rows = read_kept(self.table, [self.wanted.column])
        texts = read_texts(rows, self.wanted.column)
        self.texts = {i: t for i, t in zip(rows["id"], texts, strict=True) if t is not None}

    @property
    def embedder(self) -> Embedder:
        """What has the vectors that were asked for; a text without one is a vector of zeros."""
        return Embedder(self._embed)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        width = max(map(len, self.vectors.values()), default=1)
        nothing = np.zeros(width, np.float32)
        return np.stack([self.vectors.get(text, nothing) for text in texts])

    async def take(self, table: Table, into: Table, client: Answering, tally: Tally) -> Table:
        """Ask for the vectors of a table's rows, and of what they are compared with."""
        asked = Tally(self.label)
        gatherer = Gatherer(into)
        stage = Stage(self.label, step=self._embedded)
        stream = Stream(
            [stage], client, gatherer.add, [asked], is_full=lambda: gatherer.is_full, takes_all=True
        )
        await stream.run(_blocks(table))
        table.clear()
        await self._take_there(client, tally, asked)
        tally.add_spent(asked)
        tally.add_dropped(asked)
        return gatherer.finish()

    async def _embedded(self, row: Row, ask: Ask) -> Row:
        text = self.texts.get(row["id"])
        if text is None:
            return row
        (reply,) = await ask([self.wanted.form.call(text)])
        if isinstance(reply, Failure):
            return dropped(failed(row, self.label, *reply), f"{self.label} failed")
        self.vectors[text] = vector_of(reply)
        return row

    async def _take_there(self, client: Answering, tally: Tally, asked: Tally) -> None:
        """Ask for the vectors of texts that were there before; one without is like no other."""
        there = [text for reference in self.wanted.against for text in reference.texts()["text"]]
        there = [text for text in dict.fromkeys(there) if text not in self.vectors]
        if not there:
            return
        self.texts = {str(place): text for place, text in enumerate(there)}
        told = Tally(self.label)
        stage = Stage(self.label, step=self._embedded)
        await Stream([stage], client, lambda *_: None, [told], takes_all=True).run(_rows(there))
        asked.add_spent(told)
        if told.dropped:
            tally.notes.append(f"{told.dropped:,} texts that were there before have no vector")


def _blocks(table: Table) -> Iterator[list[Indexed]]:
    place = 0
    for rows in table.rows():
        yield list(enumerate(rows, place))
        place += len(rows)


def _rows(texts: Sequence[str]) -> Iterator[list[Indexed]]:
    for start in range(0, len(texts), PART_ROWS):
        places = range(start, min(start + PART_ROWS, len(texts)))
        yield [(n, {"id": str(n), "failures": [], "dropped_by": []}) for n in places]
