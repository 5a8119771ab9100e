"""Ask a model server for the vectors of the texts that a step compares.

Rows stream as through every step that asks: cached vectors are not asked for again, and a row
whose text gets no vector is dropped with the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from soupstock.engine.flights import Indexed
from soupstock.engine.stream import Stream
from soupstock.engine.tally import Tally
from soupstock.inference.call import AnswerSource, Ask, Failure
from soupstock.inference.embeddings import Vectors, vector_of
from soupstock.rows.marks import read_kept
from soupstock.rows.row import Row, dropped, failed
from soupstock.rows.table import PART_ROWS, ReorderBuffer, Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.step import Stage, ToEmbed
from soupstock.text.measures import read_texts


@dataclass
class ServerEmbedding:
    """Collects the vectors of one step's texts from a model server."""

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
        """Looks up the vectors that were asked for. A text without one gets a vector of zeros."""
        return Embedder(self._vectors)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        width = max(map(len, self.vectors.values()), default=1)
        nothing = np.zeros(width, np.float32)
        return np.stack([self.vectors.get(text, nothing) for text in texts])

    async def embed(self, table: Table, into: Table, client: AnswerSource, tally: Tally) -> Table:
        """Ask for the vectors of a table's rows, and of the references they are compared with."""
        asked = Tally(self.label)
        gatherer = ReorderBuffer(into)
        stage = Stage(self.label, step=self._ask)
        stream = Stream(
            [stage], client, gatherer.add, [asked], is_full=lambda: gatherer.is_full, takes_all=True
        )
        await stream.run(_blocks(table))
        table.clear()
        await self._embed_references(client, tally, asked)
        tally.add_spent(asked)
        tally.add_dropped(asked)
        return gatherer.finish()

    async def _ask(self, row: Row, ask: Ask) -> Row:
        text = self.texts.get(row["id"])
        if text is None:
            return row
        (reply,) = await ask([self.wanted.form.call(text)])
        if isinstance(reply, Failure):
            return dropped(failed(row, self.label, *reply), f"{self.label} failed")
        self.vectors[text] = vector_of(reply)
        return row

    async def _embed_references(self, client: AnswerSource, tally: Tally, asked: Tally) -> None:
        """Ask for the vectors of the references' texts; one without resembles no row."""
        texts = [text for reference in self.wanted.against for text in reference.texts()["text"]]
        texts = [text for text in dict.fromkeys(texts) if text not in self.vectors]
        if not texts:
            return
        self.texts = {str(place): text for place, text in enumerate(texts)}
        found = Tally(self.label)
        stage = Stage(self.label, step=self._ask)
        await Stream([stage], client, lambda *_: None, [found], takes_all=True).run(
            _rows(len(texts))
        )
        asked.add_spent(found)
        if found.dropped:
            tally.notes.append(f"{found.dropped:,} texts to compare with have no vector")


def _blocks(table: Table) -> Iterator[list[Indexed]]:
    place = 0
    for rows in table.rows():
        yield list(enumerate(rows, place))
        place += len(rows)


def _rows(count: int) -> Iterator[list[Indexed]]:
    for start in range(0, count, PART_ROWS):
        places = range(start, min(start + PART_ROWS, count))
        yield [(n, {"id": str(n), "failures": [], "dropped_by": []}) for n in places]
