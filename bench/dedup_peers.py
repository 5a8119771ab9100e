"""Deduplicate with other libraries, in their own environment; it imports nothing of this project.

`python dedup_peers.py NAME INPUT OUTPUT`: texts are lines, vectors an array file. It writes the
wall-clock and CPU seconds, the peak memory in MB, and the removed rows.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

THRESHOLD = 0.7
COSINE = 0.9
_WORD = re.compile(r"[^\W_]+")


def _shingles(text: str) -> list[str]:
    words = _WORD.findall(text.casefold())
    return [" ".join(words[n : n + 3]) for n in range(max(1, len(words) - 2))]


def rensa(texts: list[str]) -> list[int]:
    """Use rensa's deduplicator, as in its documentation."""
    from rensa import RMinHashDeduplicator

    finder = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=128, use_lsh=True)
    stays = finder.add_pairs((str(n), _shingles(text)) for n, text in enumerate(texts))
    return [n for n, stay in enumerate(stays) if not stay]


def datasketch(texts: list[str]) -> list[int]:
    """Use datasketch's index, and drop each text with a match."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    gone = []
    sets = ([gram.encode() for gram in _shingles(text)] for text in texts)
    for n, minhash in enumerate(MinHash.generator(sets, num_perm=128)):
        if index.query(minhash):
            gone.append(n)
        else:
            index.insert(n, minhash, check_duplication=False)
    return gone


def gaoya(texts: list[str]) -> list[int]:
    """Use gaoya's index, which makes shingles and checks signatures itself."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=THRESHOLD,
        num_bands=25,
        band_size=5,
        analyzer="word",
        lowercase=True,
        ngram_range=(3, 3),
        id_container="smallvec",
    )
    gone = []
    for n, text in enumerate(texts):
        if index.query(text):
            gone.append(n)
        else:
            index.insert_document(n, text)
    return gone


def semhash(path: Path) -> Callable[[], list[int]]:
    """Use semhash on given, centred vectors."""
    import numpy as np
    from semhash import SemHash

    vectors = np.load(path)
    names = [str(n) for n in range(len(vectors))]

    def work() -> list[int]:
        index = SemHash.from_embeddings(vectors, names, model=None)
        stays = set(index.self_deduplicate(threshold=COSINE).selected)
        return [n for n, name in enumerate(names) if name not in stays]

    return work


def _work(name: str, source: Path) -> Callable[[], list[int]]:
    if name == "semhash":
        return semhash(source)
    with source.open(encoding="utf-8", newline="\n") as lines:
        texts = [line.removesuffix("\n") for line in lines]
    return lambda: globals()[name](texts)


def _peak_megabytes() -> float:
    # getrusage includes the parent's memory at the time of the fork.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def _report(work: Callable[[], list[int]]) -> Iterator[tuple[str, object]]:
    clock, processor = time.perf_counter(), time.process_time()
    gone = work()
    yield "clock", time.perf_counter() - clock
    yield "processor", time.process_time() - processor
    yield "megabytes", _peak_megabytes()
    yield "gone", gone


if __name__ == "__main__":
    report = dict(_report(_work(sys.argv[1], Path(sys.argv[2]))))
    Path(sys.argv[3]).write_text(json.dumps(report), encoding="utf-8")
