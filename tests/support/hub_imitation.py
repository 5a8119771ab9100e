"""The Hugging Face Hub on loopback: what its client needs to push a dataset and to read it back.

    with Hub() as hub:
        api = HfApi(endpoint=hub.url, token=TOKEN)

It keeps repositories with all their commits, and large files by their hashes, whether they come as
Git LFS has it or by Xet, whose store it is, too. It misbehaves on command:
`hub.fail(POST, "/commit/", 503)` fails the next such request before it is carried out, and
`hub.fail(..., late=True)` after.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from xet_store import XetStore

TOKEN = "hf_" + "writeTokenOfNobody" * 2
READER = "hf_" + "readTokenOfNobody" * 2
XET_TOKEN = "xet" + "TokenOfNobody"
"""By which the client speaks to the store for large files."""

_FAR = 1 << 40


@dataclass
class Repository:
    """A repository: its commits, each with all its files, the newest last."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def commit(self, files: dict[str, bytes], message: str) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{message}".encode()).hexdigest()  # noqa: S324 - as git
        self.commits.append((sha, files))
        self.messages.append(message)
        return sha

    def has(self, revision: str) -> bool:
        return revision in {"main", *self.tags, *dict(self.commits)}

    def at(self, revision: str) -> dict[str, bytes]:
        sha = self.tags.get(revision, self.sha if revision == "main" else revision)
        return dict(self.commits)[sha]


@dataclass
class Failing:
    """How a request is failed."""

    method: str
    part: str
    status: int
    late: bool
    times: int


class Hub:
    """The Hub in threads of its own; use it in a `with` statement."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.xet = XetStore()
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.failing: list[Failing] = []
        self.before_commit: Callable[[], None] | None = None
        """Called before a commit is looked at: somebody else may be quicker."""

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(
        self, method: str, part: str, status: int, *, late: bool = False, times: int = 1
    ) -> None:
        self.failing.append(Failing(method, part, status, late, times))

    def failed(self, method: str, path: str, *, late: bool) -> int | None:
        for one in self.failing:
            if one.times and (one.method, one.late) == (method, late) and one.part in path:
                one.times -= 1
                return one.status
        return None

    def count(self, method: str, part: str) -> int:
        return sum(method == m and part in path for m, path in self.requests)

    def make(self, name: str, files: dict[str, bytes], *, private: bool = True) -> Repository:
        """Make a repository as somebody else would have."""
        made = self.repositories[name] = Repository(private)
        made.commit({".gitattributes": b"", **files}, "initial commit")
        return made


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _act(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        if status := self.hub.failed(self.command, path, late=False):
            self._answer(status, {"error": "it stumbled"}, {"Retry-After": "0"})
            return
        status, answer, headers = self._carried_out(path, body)
        if late := self.hub.failed(self.command, path, late=True):
            status, answer, headers = late, {"error": "it stumbled late"}, {}
        self._answer(status, answer, headers)

    do_GET = do_POST = do_PUT = do_HEAD = _act  # noqa: N815 - what the library calls them

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _carried_out(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        hub = self.hub
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if found := re.fullmatch(r"/lfs/(\w+)", path):
            assert hashlib.sha256(body).hexdigest() == found[1]
            hub.large[found[1]] = body
            return 200, {}, {}
        if path.startswith(("/v1/", "/v2/")):
            return self._stored(path, body)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            said = "Invalid credentials in Authorization header"
            return 401, {"error": said}, {"X-Error-Message": said}
        is_reading = self.command in ("GET", "HEAD") or path.endswith("/preupload/main")
        if token == READER and not is_reading:
            return 403, {"error": "no rights"}, {"X-Error-Message": "this token may only read"}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        return self._within(path, body)

    def _stored(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Take what comes by Xet; what this store does not know is 404, as of an older one."""
        if self.headers.get("Authorization") != f"Bearer {XET_TOKEN}":
            return 401, {"error": "no token of this store"}, {}
        if found := re.fullmatch(r"/v1/xorbs/default/(\w{64})", path):
            self.hub.xet.take_xorb(found[1], body)
            return 200, {"was_inserted": True}, {}
        if path == "/v1/shards":
            self.hub.xet.take_shard(body)
            self.hub.large |= self.hub.xet.files
            return 200, {"result": 1}, {}
        return 404, {"error": f"unknown: {path}"}, {}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            said = "You already created this dataset repo"
            return 409, {"error": said, "url": f"{self.hub.url}/datasets/{name}"}, {}
        self.hub.make(name, {}, private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.hub.url}/datasets/{name}", "name": name}, {}

    def _within(  # noqa: C901 - one case for each kind of request
        self, path: str, body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        found = re.fullmatch(r"(?:/api)?/datasets/([^/]+/[^/]+?)(?:\.git)?(?:/(.*))?", path)
        repository = self.hub.repositories.get(found[1]) if found else None
        if not found or repository is None:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        what, _, rest = (found[2] or "").partition("/")
        match what:
            case "" | "revision":
                return _info(found[1], repository, rest or "main")
            case "refs":
                tags = [
                    {"name": name, "ref": f"refs/tags/{name}", "targetCommit": sha}
                    for name, sha in repository.tags.items()
                ]
                return 200, {"branches": [], "converts": [], "tags": tags}, {}
            case "xet-write-token":
                return self._way_to_store()
            case "preupload":
                return 200, _modes(json.loads(body)), {}
            case "info":
                return 200, self._batch(json.loads(body)), {}
            case "commit":
                return self._commit(repository, body)
            case "tag":
                return _tag(repository, rest, json.loads(body))
            case "settings":
                repository.private = json.loads(body)["visibility"] == "private"
                return 200, {}, {}
            case "resolve":
                return _resolved(repository, rest)
            case _:
                return 404, {"error": f"unknown: {path}"}, {}

    def _way_to_store(self) -> tuple[int, Any, dict[str, str]]:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            said = "this token may only read"
            return 403, {"error": said}, {"X-Error-Message": said}
        return 200, {"accessToken": XET_TOKEN, "casUrl": self.hub.url, "exp": _FAR}, {}

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for one in asked["objects"]:
            upload = {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}
            is_there = one["oid"] in self.hub.large
            objects.append(one if is_there else one | {"actions": {"upload": upload}})
        return {"transfer": "basic", "objects": objects}

    def _commit(self, repository: Repository, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if self.hub.before_commit is not None:
            self.hub.before_commit()
        parts = [json.loads(line) for line in body.splitlines()]
        head = next(part["value"] for part in parts if part["key"] == "header")
        if head.get("parentCommit") not in (None, repository.sha):
            return 412, {"error": "the branch has moved"}, {}
        files = dict(repository.files)
        for part in parts:
            value = part["value"]
            match part["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
                case _:
                    pass
        sha = repository.commit(files, head["summary"])
        name = next(n for n, one in self.hub.repositories.items() if one is repository)
        url = f"{self.hub.url}/datasets/{name}/commit/{sha}"
        return 200, {"commitUrl": url, "commitOid": sha}, {}


def _info(name: str, repository: Repository, revision: str) -> tuple[int, Any, dict[str, str]]:
    if not repository.has(revision):
        return 404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"}
    told = {
        "id": name,
        "sha": repository.tags.get(revision, repository.sha),
        "private": repository.private,
        "siblings": [{"rfilename": file} for file in repository.at(revision)],
    }
    return 200, told, {}


def _modes(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "files": [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(".parquet") else "regular",
                "shouldIgnore": False,
            }
            for one in asked["files"]
        ]
    }


def _tag(
    repository: Repository, revision: str, asked: dict[str, Any]
) -> tuple[int, Any, dict[str, str]]:
    if asked["tag"] in repository.tags:
        return 409, {"error": "the tag is there"}, {}
    repository.tags[asked["tag"]] = repository.sha if revision == "main" else revision
    return 200, {}, {}


def _resolved(repository: Repository, rest: str) -> tuple[int, Any, dict[str, str]]:
    revision, _, path = rest.partition("/")
    files = repository.at(revision)
    if path not in files:
        return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
    digest = hashlib.sha256(files[path]).hexdigest()
    return 200, files[path], {"ETag": f'"{digest}"', "X-Repo-Commit": repository.sha}
