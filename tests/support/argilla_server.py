"""The real Argilla server of `make review`, in a folder of its own, and a few people."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PASSWORD = "long-enough-1"  # noqa: S105 - of people who live as long as a test


@dataclass
class Server:
    """A server, and its owner's key."""

    url: str
    key: str
    home: Path

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        place = HTTPConnection(self.url.removeprefix("http://"), timeout=120)
        headers = {"X-Argilla-Api-Key": key or self.key, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        place.request(method, f"/api/v1/{path}", data, headers)
        answer = place.getresponse()
        text = answer.read()
        place.close()
        assert answer.status < 300, text
        return json.loads(text) if text else None

    @property
    def environment(self) -> dict[str, str]:
        return {"ARGILLA_API_URL": self.url, "ARGILLA_API_KEY": self.key}

    def person(self, name: str, role: str = "annotator", *workspaces: str) -> str:
        """Make a person who may see workspaces; returns the key."""
        said = {"username": name, "first_name": name, "password": PASSWORD, "role": role}
        made = self.call("POST", "users", said)
        there = {one["name"]: one["id"] for one in self.call("GET", "me/workspaces")["items"]}
        for workspace in workspaces:
            self.call("POST", f"workspaces/{there[workspace]}/users", {"user_id": made["id"]})
        return str(made["api_key"])

    def datasets(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.call("GET", "me/datasets")["items"]
        return items

    def records(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Return a dataset's records by the row that each is of."""
        query = "include=responses&include=suggestions&limit=1000"
        items = self.call("GET", f"datasets/{dataset}/records?{query}")["items"]
        return {one["metadata"]["row"]: one for one in items}

    def say(
        self, record: dict[str, Any], status: str = "submitted", key: str | None = None, **said: str
    ) -> None:
        values = {name: {"value": value} for name, value in said.items()}
        self.call(
            "POST", f"records/{record['id']}/responses", {"values": values, "status": status}, key
        )


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    """Start the server as `make review` does, and stop it so."""
    port = _free_port()
    variables = {"ARGILLA_HOME": str(home), "ARGILLA_PORT": str(port), "ARGILLA_DOCKER": "0"}
    environment = {n: v for n, v in os.environ.items() if not n.startswith("ARGILLA")} | variables
    subprocess.run([ROOT / "review/up"], check=True, env=environment)  # noqa: S603 - our own
    try:
        said = json.loads((home / "server.json").read_text(encoding="utf-8"))
        yield Server(said["url"], (home / "key").read_text(encoding="utf-8").strip(), home)
    finally:
        subprocess.run([ROOT / "review/down"], check=True, env=environment)  # noqa: S603 - our own


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start one server for all tests."""
    with serving(tmp_path_factory.mktemp("argilla")) as server:
        yield server
