"""The cache: all answers by what was asked, so that nothing is paid for twice.

A SQLite file in WAL mode that any number of runs may share. One thread writes, in group commits: it
takes whatever waits, commits it together, and begins again. An answer counts only when it is
committed. Failures are never kept. Knows keys and bytes, and not what an answer is.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

from soupstock.errors import SoupstockError

BALLAST = 8 << 20
"""Bytes kept free beside the cache, so that a full disk cannot lose the answers in flight."""

_STATEMENT = 512
_GROUP = 4096
_MAPPED = 1 << 30
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_WRITE})
_TABLE = """CREATE TABLE IF NOT EXISTS calls (
  key BLOB NOT NULL PRIMARY KEY, model TEXT NOT NULL, answer BLOB NOT NULL, made INTEGER NOT NULL
) STRICT"""


class CacheError(SoupstockError):
    """The cache cannot be read or written."""


class CacheEntry(NamedTuple):
    """An answer to keep: the key of what was asked, the model's name, the answer as bytes."""

    key: bytes
    model: str
    answer: bytes


class Size(NamedTuple):
    """How much one model's answers take up."""

    model: str
    answers: int
    bytes: int


class _Put(NamedTuple):
    entry: CacheEntry
    done: asyncio.Future[bytes]


def connect(path: Path) -> sqlite3.Connection:
    """Open the cache's file for one thread, making it if it is missing."""
    try:
        with contextlib.ExitStack() as stack:
            db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            stack.enter_context(closing(db))
            db.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing so; a power cut may lose the last commits, not the
            # file.
            db.execute("PRAGMA synchronous=NORMAL")
            # Keys are hashes, so that neighbours in a question are far apart in the file.
            db.execute(f"PRAGMA mmap_size={_MAPPED}")
            db.execute(_TABLE)
            stack.pop_all()
    except sqlite3.Error as error:
        raise CacheError(f"the cache {path} cannot be opened: {error}") from error
    return db


class Reader:
    """The answers of all runs, to be read by one thread."""

    def __init__(self, path: Path) -> None:
        """Open the cache's file, making it if it is missing; raises CacheError."""
        self.path = path
        self._db = connect(path)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return those answers that are cached, by key; raises CacheError."""
        found: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(keys), _STATEMENT):
                found.update(_select(self._db, keys[start : start + _STATEMENT]))
        except sqlite3.Error as error:
            raise CacheError(f"the cache {self.path} cannot be read: {error}") from error
        return found

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Cache:
    """The answers of all runs. Opened in a running event loop; `close` waits for what is queued."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path.with_name(f"{path.name}.ballast")
        self._keep_ballast()
        self._reader, self._db = Reader(path), connect(path)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="cache", daemon=True)
        self._writer.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return those answers that are cached, by key."""
        return self._reader.get(keys)

    def put(self, entry: CacheEntry) -> asyncio.Future[bytes]:
        """Queue an answer; the future fails with a CacheError, or is done when it is committed.

        Its result is the answer that is kept: an earlier one, if another run was first.
        """
        done: asyncio.Future[bytes] = self._loop.create_future()
        self._queue.put(_Put(entry, done))
        return done

    def finish(self) -> None:
        """Commit what is queued, and then begin to close the file: nothing more may be put."""
        self._queue.put(None)

    async def close(self) -> None:
        """Commit what is queued and close the file."""
        self.finish()
        await asyncio.to_thread(self._writer.join)
        self._reader.close()

    def _write(self) -> None:
        with closing(self._db) as db:
            for group in self._groups():
                kept = self._commit(db, [put.entry for put in group])
                self._loop.call_soon_threadsafe(_settle, group, kept)

    def _groups(self) -> Iterator[list[_Put]]:
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < _GROUP:
                try:
                    put = self._queue.get_nowait()
                except queue.Empty:
                    break
                if put is None:
                    yield group
                    return
                group.append(put)
            yield group

    def _commit(
        self, db: sqlite3.Connection, entries: Sequence[CacheEntry]
    ) -> dict[bytes, bytes] | CacheError:
        """Commit answers; returns those that others had committed before, by key."""
        try:
            return _insert(db, entries)
        except sqlite3.Error as error:
            if error.sqlite_errorcode not in _NO_ROOM:
                return CacheError(f"the cache {self.path} cannot be written: {error}")
            return self._commit_at_last(db, entries, error)

    def _commit_at_last(
        self, db: sqlite3.Connection, entries: Sequence[CacheEntry], why: sqlite3.Error
    ) -> CacheError:
        """Give up the ballast to keep what was answered."""
        try:
            self._ballast.unlink(missing_ok=True)
            _insert(db, entries)
        except (OSError, sqlite3.Error):
            return CacheError(f"the cache {self.path} cannot be written: {why}")
        return CacheError(
            f"the cache {self.path} is out of room ({why}): free some space and run again; "
            "all answers so far are kept, and nothing more is asked"
        )

    def _keep_ballast(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self._ballast.exists():
                self._ballast.write_bytes(bytes(BALLAST))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._ballast.unlink(missing_ok=True)
            reason = error.strerror or error
            raise CacheError(f"the cache {self.path} cannot be kept: {reason}") from error


def sizes(path: Path) -> list[Size]:
    """Return how many answers of each model the cache holds, the largest first."""
    query = "SELECT model, count(*), sum(length(answer)) FROM calls GROUP BY model ORDER BY 3 DESC"
    with _opened(path) as db:
        return [Size(*row) for row in db.execute(query)]


def keys(path: Path) -> frozenset[bytes]:
    """Return the keys of all answers."""
    with _opened(path) as db:
        return frozenset(key for (key,) in db.execute("SELECT key FROM calls"))


def read(path: Path, some: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the answers to a few keys, by key."""
    with _opened(path) as db:
        return _select(db, some)


def remove(path: Path, unwanted: Sequence[bytes]) -> None:
    """Remove answers, and give their room back to the disk."""
    with _opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("DELETE FROM calls WHERE key = ?", ((key,) for key in unwanted))
        db.execute("COMMIT")
        # A run at work keeps the file from being rewritten; the next removal will do it.
        with contextlib.suppress(sqlite3.OperationalError):
            db.execute("VACUUM")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as db:
        try:
            yield db
        except sqlite3.Error as error:
            raise CacheError(f"the cache {path} cannot be used: {error}") from error


def _insert(db: sqlite3.Connection, entries: Sequence[CacheEntry]) -> dict[bytes, bytes]:
    """Insert and commit answers; returns those that others had committed before, by key.

    As few statements as can be, each its own transaction: after each the thread has to wait until
    the event loop lets it run Python again.
    """
    made = int(time.time())
    earlier: dict[bytes, bytes] = {}
    for start in range(0, len(entries), _STATEMENT):
        some = entries[start : start + _STATEMENT]
        rows = ",".join(["(?, ?, ?, ?)"] * len(some))
        values = [value for entry in some for value in (*entry, made)]
        done = db.execute(f"INSERT OR IGNORE INTO calls VALUES {rows}", values)  # noqa: S608 - marks
        if done.rowcount < len(some):
            earlier.update(_select(db, [entry.key for entry in some]))
    return earlier


def _select(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the answers to at most _STATEMENT keys."""
    marks = ",".join(["(?)"] * len(keys))
    # A join takes the keys as they come; IN would sort them first, which takes a third longer.
    query = (
        f"WITH asked(key) AS (VALUES {marks}) "  # noqa: S608 - marks
        "SELECT key, answer FROM asked CROSS JOIN calls USING (key)"
    )
    return dict(db.execute(query, keys).fetchall())


def _settle(group: list[_Put], kept: dict[bytes, bytes] | CacheError) -> None:
    for put in group:
        if put.done.cancelled():
            continue
        if isinstance(kept, CacheError):
            put.done.set_exception(kept)
        else:
            put.done.set_result(kept.get(put.entry.key, put.entry.answer))
