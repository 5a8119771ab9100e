"""The hashes of files and folders, and files that are written whole or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256(path: Path) -> str:
    """Hash a file's content: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden file beside `path` to write to, then rename it to `path`.

    If the block raises, or the process is killed, `path` stays as it was; the next write replaces
    what is left in the hidden file.
    """
    partial = path.with_name(f".{path.name}.partial")
    yield partial
    partial.replace(path)


def folder_hash(folder: Path) -> str:
    """Hash the files of a folder, with their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape"))
            digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()
