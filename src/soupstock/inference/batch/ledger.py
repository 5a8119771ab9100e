"""Batches as data: the lines of their files, and a ledger of those that are under way.

The ledger is a table beside the answers, so that the next run takes over the batches of a run that
was left or killed, and nothing is handed in twice. Knows no HTTP and no event loop.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import orjson

from soupstock.inference.cache import CacheError, connect
from soupstock.inference.call import Call

MOST_LINES = 50_000
"""How many calls a batch may hold: OpenAI's limit."""

MOST_BYTES = 190_000_000
"""How long its file may be in bytes; OpenAI's limit is 200 MB."""

_KEY = 20
_OK = 200
_TABLE = """CREATE TABLE IF NOT EXISTS batches (
  file TEXT NOT NULL PRIMARY KEY, batch TEXT, server TEXT NOT NULL, model TEXT NOT NULL,
  keys BLOB NOT NULL, made INTEGER NOT NULL
) STRICT"""


@dataclass(frozen=True)
class Batch:
    """Calls that are handed in together."""

    file: str
    """The id of the file that holds them, or its path."""
    batch: str | None
    """The batch's id; None if the run ended before it was known."""
    server: str
    """Where it was handed in."""
    model: str
    keys: frozenset[bytes]
    """The calls' keys."""

    def identified(self, batch: str) -> "Batch":
        """Return the same batch with its id."""
        return replace(self, batch=batch)


class Result(NamedTuple):
    """What came of one call of a batch."""

    key: bytes
    status: int
    body: bytes
    """The body of the answer, or of the error, as the server would have sent it."""

    @property
    def is_answer(self) -> bool:
        """Whether the call was answered."""
        return self.status == _OK


class Ledger:
    """Which batches are under way, in the cache's file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """The cache's file."""
        self._claimed: set[str] = set()

    def under_way(self, server: str, model: str) -> list[Batch]:
        """Return the batches that were handed in for a model and are not settled, oldest first."""
        query = "SELECT * FROM batches WHERE server = ? AND model = ? ORDER BY made, file"
        with self._opened() as db:
            rows = db.execute(query, (server, model)).fetchall()
        return [
            Batch(file, batch, server, model, frozenset(_cut(keys)))
            for file, batch, server, model, keys, _ in rows
        ]

    def claim(self, server: str, model: str) -> list[Batch]:
        """Return the batches of earlier runs for a model, each once in this run, oldest first."""
        batches = [one for one in self.under_way(server, model) if one.file not in self._claimed]
        self._claimed.update(batch.file for batch in batches)
        return batches

    def note(self, batch: Batch) -> None:
        """Note a batch, or its id."""
        self._claimed.add(batch.file)
        keys = b"".join(sorted(batch.keys))
        row = (batch.file, batch.batch, batch.server, batch.model, keys, int(time.time()))
        with self._opened() as db:
            db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)

    def settle(self, batch: Batch) -> None:
        """Strike a batch out: all its answers are kept."""
        with self._opened() as db:
            db.execute("DELETE FROM batches WHERE file = ?", (batch.file,))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(connect(self.path)) as db:
            try:
                db.execute(_TABLE)
                yield db
            except sqlite3.Error as error:
                raise CacheError(f"the cache {self.path} cannot be used: {error}") from error


def _cut(keys: bytes) -> Iterator[bytes]:
    return (keys[start : start + _KEY] for start in range(0, len(keys), _KEY))


def lines(calls: Iterable[Call]) -> bytes:
    """Write calls as a batch file: JSONL, as OpenAI's batch API and `vllm run-batch` read it."""
    return b"".join(
        b'{"custom_id":"%b","method":"POST","url":"/v1/%b","body":%b}\n'
        % (call.key.hex().encode(), call.path.encode(), call.body)
        for call in calls
    )


def groups(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Divide calls into as few batches as the limits allow; one batch has calls of one kind."""
    for path in sorted({call.path for call in calls}):
        group: list[Call] = []
        size = 0
        for call in (call for call in calls if call.path == path):
            length = len(lines([call]))
            if group and (len(group) == MOST_LINES or size + length > MOST_BYTES):
                yield group
                group, size = [], 0
            group.append(call)
            size += length
        yield group


def read_results(raw: bytes) -> Iterator[Result]:
    """Read a batch's output or error file; lines that are no result are skipped."""
    for line in raw.splitlines():
        try:
            read = orjson.loads(line)
            key = bytes.fromhex(read["custom_id"])
            response = read.get("response") or {}
            status = int(response.get("status_code") or 0)
            body = response.get("body") if status else {"error": read.get("error")}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        yield Result(key, status or 500, orjson.dumps(body))
