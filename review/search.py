"""A stand-in for Elasticsearch, so that a real Argilla server can search documents in SQLite.

Argilla's own code still builds every query, mapping, sort and aggregation. This module only stores
documents, in a file that the server and its workers share, and interprets the part of the query
language that Argilla uses. A search scans every document of a dataset, which suffices up to about
20,000.
"""

import dataclasses
import fnmatch
import hashlib
import json
import math
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from argilla_server.models import VectorSettings
from argilla_server.search_engine import SearchEngine
from argilla_server.search_engine.commons import (
    BaseElasticAndOpenSearchEngine,
    es_field_for_vector_settings,
)
from argilla_server.settings import settings

NUMBERS = ("integer", "long", "float")
LONGEST_KEYWORD = 32_766
TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]"
    r"|[^\W\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019.][^\W\u3040-\u30ff\u3400-\u9fff]+)*"
)
PART = re.compile(r'-?"[^"]*"(?:~\d+)?|[|+()]|[^\s()|+]+')

Document = dict[str, Any]
Query = Mapping[str, Any]


def tokens(text: object) -> list[str]:
    """Split a text into words, as Elasticsearch's standard analyser does."""
    return TOKEN.findall(str(text).lower())


def leaves(node: Any, path: Sequence[str]) -> list[Any]:
    """Return all values at a path; lists are replaced by their items."""
    for place, part in enumerate(path):
        if isinstance(node, list):
            return [leaf for item in node for leaf in leaves(item, path[place:])]
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, list):
        return [leaf for item in node for leaf in leaves(item, ())]
    return [] if node is None else [node]


def merged(base: Document, patch: Mapping[str, Any]) -> Document:
    """Update a document in place with a patch, recursively."""
    for name, value in patch.items():
        is_inner = isinstance(value, dict) and isinstance(base.get(name), dict)
        base[name] = merged(base[name], value) if is_inner else value
    return base


def cast(kind: str | None, value: Any) -> Any:
    """Convert a value so that it can be compared with others of its kind."""
    if kind in NUMBERS:
        return float(value)
    if kind == "date_nanos":
        moment = datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclasses.dataclass(slots=True)
class Entry:
    """A document, its number in the order of writing, and its texts as words."""

    id: str
    number: int
    source: Document
    words: dict[str, str] = dataclasses.field(default_factory=dict)


class Documents:
    """All indices, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS kinds(name TEXT PRIMARY KEY, kinds TEXT);"
            "CREATE TABLE IF NOT EXISTS documents(number INTEGER PRIMARY KEY AUTOINCREMENT,"
            " name TEXT, id TEXT, source TEXT, UNIQUE(name, id));"
        )
        self._known: dict[str, tuple[dict[str, str], dict[str, Entry]]] = {}
        self._version: int | None = None

    def index(self, name: str) -> tuple[dict[str, str], dict[str, Entry]]:
        """Return an index: the kinds of its fields, and its documents."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            # Another process has written.
            self._known, self._version = {}, version
        if name not in self._known:
            row = self._db.execute("SELECT kinds FROM kinds WHERE name=?", (name,)).fetchone()
            if row is None:
                raise LookupError(f"index_not_found_exception: no such index [{name}]")
            rows = self._db.execute(
                "SELECT id, number, source FROM documents WHERE name=? ORDER BY number", (name,)
            )
            entries = {one: Entry(one, number, json.loads(text)) for one, number, text in rows}
            self._known[name] = (json.loads(row[0]), entries)
        return self._known[name]

    def map(self, name: str, properties: Mapping[str, Any], *, is_new: bool = False) -> None:
        """Store the kinds of an index's fields."""
        kinds = {} if is_new else dict(self.index(name)[0])
        kinds.update(flattened(properties))
        self._db.execute("INSERT OR REPLACE INTO kinds VALUES (?,?)", (name, json.dumps(kinds)))
        self._known.pop(name, None)

    def drop(self, name: str) -> None:
        """Remove an index."""
        self._db.execute("DELETE FROM documents WHERE name=?", (name,))
        self._db.execute("DELETE FROM kinds WHERE name=?", (name,))
        self._known.pop(name, None)

    def write(self, name: str, actions: Iterable[tuple[str, Document | None]]) -> list[str]:
        """Write documents, or delete those that are None; return the reasons of refusals."""
        kinds, entries = self.index(name)
        refused = []
        self._db.execute("BEGIN IMMEDIATE")
        for one, source in actions:
            if source is None:
                self._db.execute("DELETE FROM documents WHERE name=? AND id=?", (name, one))
                entries.pop(one, None)
                continue
            text = json.dumps(source, default=str)
            plain = json.loads(text)
            if reason := refusal(kinds, plain):
                refused.append(f"{one}: {reason}")
                continue
            number = self._db.execute(
                "INSERT OR REPLACE INTO documents(name, id, source) VALUES (?,?,?)",
                (name, one, text),
            ).lastrowid
            entries.pop(one, None)
            entries[one] = Entry(one, number or 0, plain)
        self._db.execute("COMMIT")
        return refused


def flattened(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the kind of each field of a mapping."""
    for name, said in properties.items():
        if said.get("enabled", True) is not False:
            yield prefix + name, said.get("type", "object")
            yield from flattened(said.get("properties", {}), f"{prefix}{name}.")


def refusal(kinds: Mapping[str, str], source: Document) -> str | None:
    """Return why Elasticsearch would refuse a document that Argilla accepts, or None."""
    for path, kind in kinds.items():
        values = leaves(source, path.split(".")) if kind in {"keyword", "dense_vector"} else []
        if kind == "keyword" and any(len(str(v).encode()) > LONGEST_KEYWORD for v in values):
            return f"immense term in keyword field [{path}], max {LONGEST_KEYWORD} bytes"
        if kind == "dense_vector" and values and not any(values):
            return f"[{path}] cosine similarity does not support vectors with zero magnitude"
    return None


class Search:
    """A search of an index. A query gives each document a score, or None if it does not match."""

    def __init__(self, kinds: Mapping[str, str], entries: Mapping[str, Entry]) -> None:
        self.kinds = kinds
        self.entries = entries

    def hits(self, query: Query) -> list[tuple[float, Entry]]:
        """Return the documents that match, each with its score."""
        found = ((self.score(query, entry), entry) for entry in self.entries.values())
        return [(score, entry) for score, entry in found if score is not None]

    def score(self, query: Query, entry: Entry) -> float | None:
        """Score a document."""
        ((kind, body),) = query.items()
        asked: Callable[[Any, Entry], float | None] = getattr(self, f"_{kind}")
        return asked(body, entry)

    def values(self, entry: Entry, path: str) -> list[Any]:
        """Return a field's values, comparable."""
        kind = self.kinds.get(path)
        if kind in {None, "object", "nested"}:
            return []
        return [cast(kind, value) for value in leaves(entry.source, path.split("."))]

    def _match_all(self, _body: Any, _entry: Entry) -> float:
        return 1.0

    def _bool(self, body: Any, entry: Entry) -> float | None:
        def clauses(name: str) -> list[Query]:
            some = body.get(name) or []
            return some if isinstance(some, list) else [some]

        must = [self.score(one, entry) for one in clauses("must")]
        if any(one is None for one in must):
            return None
        if any(self.score(one, entry) is None for one in clauses("filter")):
            return None
        if any(self.score(one, entry) is not None for one in clauses("must_not")):
            return None
        scores = (self.score(one, entry) for one in clauses("should"))
        should = [one for one in scores if one is not None]
        alone = bool(clauses("should")) and not must and not clauses("filter")
        if len(should) < int(body.get("minimum_should_match", int(alone))):
            return None
        return sum(one for one in must if one is not None) + sum(should)

    def _terms(self, body: Any, entry: Entry) -> float | None:
        ((path, wanted),) = body.items()
        kind = self.kinds.get(path)
        asked = {cast(kind, getattr(value, "value", value)) for value in wanted}
        return 1.0 if asked.intersection(self.values(entry, path)) else None

    def _term(self, body: Any, entry: Entry) -> float | None:
        ((path, value),) = body.items()
        return self._terms({path: [value]}, entry)

    def _range(self, body: Any, entry: Entry) -> float | None:
        ((path, limits),) = body.items()
        kind = self.kinds.get(path)
        low, high = (
            None if limits.get(name) is None else cast(kind, limits[name])
            for name in ("gte", "lte")
        )
        is_in = any(
            (low is None or value >= low) and (high is None or value <= high)
            for value in self.values(entry, path)
        )
        return 1.0 if is_in else None

    def _exists(self, body: Any, entry: Entry) -> float | None:
        return 1.0 if leaves(entry.source, body["field"].split(".")) else None

    def _ids(self, body: Any, entry: Entry) -> float | None:
        return 1.0 if entry.id in body["values"] else None

    def _nested(self, body: Any, entry: Entry) -> float | None:
        scores = [self.score(body["query"], one) for one in inner(entry, body["path"])]
        found = [one for one in scores if one is not None]
        return sum(found) / len(found) if found else None

    def _function_score(self, body: Any, entry: Entry) -> float | None:
        score = self.score(body["query"], entry)
        seed = f"{body['functions'][0]['random_score']['seed']}{entry.number}".encode()
        random = int.from_bytes(hashlib.blake2b(seed, digest_size=4).digest(), "big") / 2**32
        return None if score is None else score * random

    def _simple_query_string(self, body: Any, entry: Entry) -> float | None:
        """Search for all words, with | - "phrase" prefix* evaluated from left to right."""
        paths = [
            path
            for path, kind in self.kinds.items()
            if kind in {"text", "keyword"} and fnmatch.fnmatchcase(path, body["fields"][0])
        ]
        result: float | None = 1.0
        is_or = False
        for part in PART.findall(body["query"]):
            if part in "|+()":
                is_or = part == "|" if part in "|+" else is_or
                continue
            is_not = part.startswith("-") and len(part) > 1
            score = self._word(entry, paths, re.sub(r"~\d*$", "", part.lstrip("-")))
            if is_not:
                score = 0.0 if score is None else None
            there = [one for one in (result, score) if one is not None]
            result = sum(there) if len(there) == 2 or (is_or and there) else None  # noqa: PLR2004
            is_or = False
        return result

    def _word(self, entry: Entry, paths: Sequence[str], word: str) -> float | None:
        found = tokens(word)
        if not found:
            return 0.0
        is_phrase = word.startswith('"')
        needles = [f" {' '.join(found)} "] if is_phrase else [f" {one} " for one in found]
        if word.endswith("*") and not is_phrase:
            needles[-1] = needles[-1].rstrip()
        best: float | None = None
        for path in paths:
            if path not in entry.words:
                # Two spaces between words, because a word is searched with one on either side.
                texts = leaves(entry.source, path.split("."))
                entry.words[path] = "  ".join(f" {'  '.join(tokens(text))} " for text in texts)
            text = entry.words[path].replace("  ", " ") if is_phrase else entry.words[path]
            counts = [text.count(needle) for needle in needles]
            if all(counts):
                length = 1 + len(text) / 200
                score = sum(often / (often + 0.3 + 0.9 * length) for often in counts)
                best = max(best or 0.0, score)
        return best

    def sorted(self, hits: list[tuple[float, Entry]], sort: Any) -> list[tuple[float, Entry]]:
        """Sort hits by score, or by `sort`; documents without a value come last."""
        if not sort:
            return sorted(hits, key=lambda hit: (-hit[0], hit[1].number))
        hits = sorted(hits, key=lambda hit: hit[1].number)
        for said in reversed(sort):
            ((path, how),) = said.items()
            how = how if isinstance(how, dict) else {"order": how}
            is_down = getattr(how["order"], "value", how["order"]) == "desc"
            keyed = [(self._key(hit[1], path, how, is_down=is_down), hit) for hit in hits]
            there = [pair for pair in keyed if pair[0] is not None]
            there.sort(key=lambda pair: pair[0], reverse=is_down)
            hits = [hit for _, hit in there] + [hit for key, hit in keyed if key is None]
        return hits

    def _key(self, entry: Entry, path: str, how: Mapping[str, Any], *, is_down: bool) -> Any:
        nested = how.get("nested")
        if not nested:
            values = self.values(entry, path)
        else:
            parts = inner(entry, nested["path"])
            if "filter" in nested:
                parts = [one for one in parts if self.score(nested["filter"], one) is not None]
            values = [value for one in parts for value in self.values(one, path)]
            if values and isinstance(values[0], float):
                values = [sum(values) / len(values)]
        if not values:
            return None
        return max(values) if is_down else min(values)

    def aggregated(self, hits: Sequence[tuple[float, Entry]], asked: Query) -> Document:
        """Return the counts, or the range, of a field's values."""
        ((kind, body),) = asked.items()
        each = [self.values(entry, body["field"]) for _, entry in hits]
        if self.kinds.get(body["field"]) == "keyword":
            each = [sorted(set(values)) for values in each]
        flat = [value for values in each for value in values]
        match kind:
            case "value_count":
                return {"value": len(flat)}
            case "terms":
                top = sorted(Counter(flat).items(), key=lambda pair: (-pair[1], pair[0]))
                buckets = [{"key": key, "doc_count": often} for key, often in top[: body["size"]]]
                return {"buckets": buckets}
            case "stats":
                low, high = min(flat, default=None), max(flat, default=None)
                return {"count": len(flat), "min": low, "max": high}
            case _:
                raise NotImplementedError(kind)


def inner(entry: Entry, path: str) -> list[Entry]:
    """Return the parts of a document under a path as separate documents."""
    parts = entry.source.get(path) or []
    return [Entry(entry.id, entry.number, {path: [one]}) for one in parts]


_open: dict[Path, Documents] = {}


def documents() -> Documents:
    """Open the file of documents, once per process."""
    path = Path(os.environ.get("ARGILLA_HOME_PATH") or settings.home_path) / "search.db"
    return _open.setdefault(path, Documents(path)) if path not in _open else _open[path]


@SearchEngine.register(engine_name="stand-in")
@dataclasses.dataclass
class StandIn(BaseElasticAndOpenSearchEngine):
    """The interface that Argilla expects of a search engine."""

    @classmethod
    async def new_instance(cls) -> "StandIn":
        """Open the index."""
        documents()
        return cls(number_of_shards=1, number_of_replicas=0)

    async def close(self) -> None:
        """Leave the file open, because others in the process may search."""

    async def ping(self) -> bool:
        """Return that the index is available."""
        return True

    async def info(self) -> Document:
        """Return a description of the index."""
        said = "a stand-in in SQLite, not Elasticsearch"
        return {"name": "stand-in", "version": {"number": "8.17.0"}, "tagline": said}

    def _mapping_for_vector_settings(self, vector_settings: VectorSettings) -> Document:
        kind = {"type": "dense_vector", "dims": vector_settings.dimensions}
        return {es_field_for_vector_settings(vector_settings): kind}

    async def _create_index_request(
        self,
        index_name: str,
        mappings: Document,
        settings: Document,  # noqa: ARG002 - shards and the like, which it has not
    ) -> None:
        documents().map(index_name, mappings["properties"], is_new=True)

    async def _delete_index_request(self, index_name: str) -> None:
        documents().drop(index_name)

    async def _index_exists_request(self, index_name: str) -> bool:
        try:
            return bool(documents().index(index_name))
        except LookupError:
            return False

    async def put_index_mapping_request(self, index: str, mappings: Document) -> None:
        """Add fields."""
        documents().map(index, mappings)

    async def _bulk_op_request(self, actions: Sequence[Document]) -> None:
        if not actions:
            return
        own = ("_op_type", "_id", "_index")
        batch = [
            (
                str(action["_id"]),
                None
                if action["_op_type"] == "delete"
                else {name: value for name, value in action.items() if name not in own},
            )
            for action in actions
        ]
        for reason in documents().write(actions[0]["_index"], batch):
            self._LOGGER.error("a document was refused: %s", reason)

    async def _update_document_request(self, index_name: str, id: str, body: Document) -> None:
        entry = documents().index(index_name)[1].get(id)
        if entry is None:
            raise LookupError(f"document_missing_exception: [{id}] in [{index_name}]")
        source = json.loads(json.dumps(entry.source))
        script = body.get("script")
        if script is None:
            merged(source, json.loads(json.dumps(body["doc"], default=str)))
        elif isinstance(script, str):
            # The script removes one suggestion, by name.
            gone = re.search(r'remove\("(.*)"\)', script)
            source.get("suggestions", {}).pop(gone[1] if gone else "", None)
        else:
            # The script adds a response, replacing an earlier one, or removes it.
            said = json.loads(json.dumps(script["params"]["response"], default=str))
            rest = [r for r in source.get("responses") or [] if r["id"] != said["id"]]
            source["responses"] = rest + [said] * ("responses.add(" in script["source"])
        if refused := documents().write(index_name, [(id, source)]):
            raise ValueError(refused[0])

    async def _index_search_request(  # noqa: PLR0913, PLR0917 - Argilla's signature
        self,
        index: str,
        query: Query,
        size: int | None = None,
        from_: int | None = None,
        sort: Any = None,
        aggregations: Query | None = None,
    ) -> Document:
        search = Search(*documents().index(index))
        hits = search.hits(query)
        start, most = from_ or 0, 10 if size is None else size
        page = search.sorted(hits, sort)[start : start + most] if most else []
        shown = [{"_id": one.id, "_score": None if sort else score} for score, one in page]
        asked = (aggregations or {}).items()
        return {
            "hits": {"total": {"value": len(hits)}, "hits": shown},
            "aggregations": {name: search.aggregated(hits, how) for name, how in asked},
        }

    async def _request_similarity_search(  # noqa: PLR0913, PLR0917 - Argilla's signature
        self,
        index: str,
        vector_settings: VectorSettings,
        value: Sequence[float],
        k: int,
        excluded_id: object = None,
        query_filters: Sequence[Query] | None = None,
    ) -> Document:
        search = Search(*documents().index(index))
        name = str(vector_settings.id)
        query = {"bool": {"must": list(query_filters or [{"match_all": {}}])}}
        near = [
            entry
            for _, entry in search.hits(query)
            if entry.id != str(excluded_id) and (entry.source.get("vectors") or {}).get(name)
        ]
        if not near:
            return {"hits": {"total": {"value": 0}, "hits": []}}
        matrix = np.array([entry.source["vectors"][name] for entry in near], float)
        vector = np.array(value, float)
        norms = np.linalg.norm(matrix, axis=1) * (np.linalg.norm(vector) or math.inf)
        # Elasticsearch's score for a cosine.
        scores = (1 + matrix @ vector / norms) / 2
        order = np.argsort(-scores, kind="stable")[:k]
        hits = [{"_id": near[n].id, "_score": float(scores[n])} for n in order]
        return {"hits": {"total": {"value": len(hits)}, "hits": hits}}
