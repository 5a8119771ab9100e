"""A provider's batch API, without a provider: files, batches and their results, in memory.

Part of soupstock.testing: a server's `batches`. A batch ends when it is looked at, unless batches
are held. Lists come in pages, as OpenAI's do.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import orjson
from aiohttp import web

from soupstock.testing.replies import Reply, error

_PAGE = 20
_MOST_LISTED = 100
"""How many batches are listed at once: unless asked otherwise, and at most."""

Carry = Callable[[str, Mapping[str, str], bytes], tuple[int, bytes]]
"""Answers one call: path, headers and body, to status and body."""


class Batches:
    """Files and batches by id, and how batches end."""

    def __init__(self, carry: Carry) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks = 0
        """How often a client asked how far a batch is."""
        self._carry = carry
        self._ids = itertools.count(1)
        self._is_held = False
        self._is_silent = False
        self._failures: list[Callable[[str], Reply | None]] = []
        self._ending: tuple[str, int | None] = ("completed", None)

    def hold(self) -> None:
        """Let no batch end."""
        self._is_held = True

    def release(self) -> None:
        """Let batches end."""
        self._is_held = False

    def fall_silent(self, *, is_silent: bool = True) -> None:
        """Create batches, and never say so: the reply does not come, as if it were lost."""
        self._is_silent = is_silent

    def fail(self, when: Callable[[str], Reply | None]) -> None:
        """Fail the requests, by method and path, for which `when` returns a reply."""
        self._failures.append(when)

    def end_as(self, status: str, answered: int | None = None) -> None:
        """End batches as `completed`, `failed` or `expired`, with `answered` answers; None: all."""
        self._ending = status, answered

    async def handle(self, http: web.BaseRequest) -> tuple[Reply, bytes]:
        """Answer a request under /v1/files or /v1/batches."""
        for when in self._failures:
            if (failed := when(f"{http.method} {http.path}")) is not None:
                return failed, failed.body or failed.text.encode()
        match http.method, http.path.split("/")[2:]:
            case "POST", ["files"]:
                return self._reply(self._filed(await _uploaded(http)))
            case "GET", ["files", name, "content"] if name in self.files:
                return Reply(), self.files[name]
            case "POST", ["batches"]:
                created = self._create(orjson.loads(await http.read()))
                if self._is_silent:
                    await asyncio.Event().wait()
                return created
            case "GET", ["batches"]:
                return self._listed(http.query)
            case "GET", ["batches", name] if name in self.batches:
                self.looks += 1
                batch = self.batches[name]
                if not self._is_held and batch["status"] == "in_progress":
                    self._end(batch, http.headers)
                return self._reply(batch)
            case _:
                unknown = error(404, f"Unknown request URL: {http.method} {http.path}")
                return unknown, unknown.body or b""

    def _listed(self, query: Mapping[str, str]) -> tuple[Reply, bytes]:
        """List batches as OpenAI does: the newest first, page by page."""
        newest = list(self.batches.values())[::-1]
        ids = [batch["id"] for batch in newest]
        start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        page = newest[start : start + min(int(query.get("limit", _PAGE)), _MOST_LISTED)]
        return self._reply(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": start + len(page) < len(newest),
            }
        )

    def _reply(self, body: Mapping[str, Any]) -> tuple[Reply, bytes]:
        return Reply(), orjson.dumps(body)

    def _filed(self, content: bytes) -> dict[str, Any]:
        name = f"file-{next(self._ids)}"
        self.files[name] = content
        file = {"id": name, "object": "file", "bytes": len(content), "purpose": "batch"}
        return file | {"created_at": 0, "filename": f"{name}.jsonl", "status": "processed"}

    def _create(self, asked: Mapping[str, Any]) -> tuple[Reply, bytes]:
        file = asked.get("input_file_id")
        if file not in self.files:
            refused = error(400, f"no file is called {file!r}", param="input_file_id")
            return refused, refused.body or b""
        name = f"batch_{next(self._ids)}"
        total = len(self.files[file].splitlines())
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "created_at": int(time.time()),
            **asked,
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": total, "completed": 0, "failed": 0},
        }
        return self._reply(self.batches[name])

    def _end(self, batch: dict[str, Any], headers: Mapping[str, str]) -> None:
        status, most = self._ending
        good: list[bytes] = []
        bad: list[bytes] = []
        for line in self.files[batch["input_file_id"]].splitlines()[:most]:
            asked = orjson.loads(line)
            code, body = self._carry(asked["url"], headers, orjson.dumps(asked["body"]))
            response = {"status_code": code, "request_id": "r", "body": orjson.loads(body)}
            line_id = {"id": "l", "custom_id": asked["custom_id"]}
            result = line_id | {"response": response, "error": None}
            (good if code == 200 else bad).append(orjson.dumps(result))  # noqa: PLR2004 - HTTP's own
        batch["status"] = status
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        for key, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[key] = self._filed(b"\n".join(lines) + b"\n")["id"]


async def _uploaded(http: web.BaseRequest) -> bytes:
    head = f"Content-Type: {http.headers['Content-Type']}\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + await http.read())
    for part in form.iter_parts():
        if part.get_param("name", header="Content-Disposition") == "file":
            return bytes(part.get_payload(decode=True))
    return b""
