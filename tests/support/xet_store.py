"""What the Hub keeps large files in when they come by Xet: xorbs, and shards that tell of files.

A xorb is a row of chunks, each compressed; a shard says of which chunks a file is made. How they
are laid out says https://huggingface.co/docs/xet. Files are put together again and checked by their
hash, so what the real client sends has been understood.
"""

import hashlib
import struct
from collections.abc import Iterator

import pyarrow as pa

HEADER = RECORD = 48
VERIFIED, DESCRIBED = 1 << 31, 1 << 30
"""What flags of a file say: hashes of its pieces follow, and its SHA-256 does."""

_END = b"\xff" * 32


class XetStore:
    """Keeps xorbs, and the files that shards made of them, by their SHA-256."""

    def __init__(self) -> None:
        self.xorbs: dict[str, list[bytes]] = {}
        self.files: dict[str, bytes] = {}

    def take_xorb(self, name: str, body: bytes) -> None:
        self.xorbs[name] = list(_chunks(body))

    def take_shard(self, body: bytes) -> None:
        place = HEADER
        while body[place : place + 32] != _END:
            flags, pieces = struct.unpack_from("<II", body, place + 32)
            first = place + RECORD
            content = b"".join(self._piece(body, first + RECORD * n) for n in range(pieces))
            place = first + RECORD * pieces * (2 if flags & VERIFIED else 1)
            assert flags & DESCRIBED
            digest = _hexadecimal(body[place : place + 32])
            assert hashlib.sha256(content).hexdigest() == digest
            self.files[digest] = content
            place += RECORD

    def _piece(self, body: bytes, place: int) -> bytes:
        length, start, end = struct.unpack_from("<III", body, place + 36)
        piece = b"".join(self.xorbs[_hexadecimal(body[place : place + 32])][start:end])
        assert len(piece) == length
        return piece


def _chunks(body: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(body):
        length = int.from_bytes(body[place + 1 : place + 4], "little")
        scheme, full = body[place + 4], int.from_bytes(body[place + 5 : place + 8], "little")
        yield _unpacked(scheme, body[place + 8 : place + 8 + length], full)
        place += 8 + length


def _unpacked(scheme: int, data: bytes, length: int) -> bytes:
    if scheme == 0:
        return data
    plain: bytes = pa.Codec("lz4").decompress(data, length, asbytes=True)
    if scheme == 1:
        return plain
    # The first bytes of all groups of four, then the second ones, and so on.
    assert scheme == 2
    found, place = bytearray(length), 0
    for offset in range(4):
        size = len(range(offset, length, 4))
        found[offset::4] = plain[place : place + size]
        place += size
    return bytes(found)


def _hexadecimal(digest: bytes) -> str:
    """Write a hash as Xet does: four numbers of eight bytes, each the least byte first."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
