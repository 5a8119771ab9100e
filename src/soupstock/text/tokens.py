"""Count the tokens of a named tokenizer. Needs the library `tokenizers`, which is an extra."""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from soupstock.errors import quoted


def count_tokens(texts: Sequence[str], tokenizer: str) -> list[int]:
    """Count each text's tokens, special ones left out.

    `tokenizer` is the path of a `tokenizer.json`, with `@` and the beginning of its SHA-256 where
    the file must be that very one, or a model's name on the Hub.

    Raises:
        ValueError: The library, the file or the model is not there; one line for the user.
    """
    return _counter(tokenizer)(list(texts))


@lru_cache(maxsize=4)
def _counter(tokenizer: str) -> Callable[[list[str]], list[int]]:
    try:
        library: Any = importlib.import_module("tokenizers")
    except ImportError:
        raise ValueError(
            "counting tokens needs the library tokenizers: pip install tokenizers"
        ) from None
    file = _file(tokenizer)
    try:
        loaded: Any = library.Tokenizer.from_file(str(file))
    # The library raises bare Exception.
    except Exception as error:
        raise ValueError(f"{quoted(tokenizer)} is no tokenizer: {error}") from error
    # A tokenizer's own limits are for a model's input: here they would hide what is too long.
    loaded.no_truncation()
    loaded.no_padding()

    def count(texts: list[str]) -> list[int]:
        return [len(found) for found in loaded.encode_batch_fast(texts, add_special_tokens=False)]

    return count


def _file(tokenizer: str) -> Path:
    path, _, digest = tokenizer.rpartition("@")
    if path and Path(path).is_file():
        if not hashlib.sha256(Path(path).read_bytes()).hexdigest().startswith(digest):
            raise ValueError(f"{quoted(path)} has changed since the plan was made")
        return Path(path)
    if Path(tokenizer).is_file():
        return Path(tokenizer)
    return _fetched(tokenizer)


def _fetched(name: str) -> Path:
    """Fetch a model's tokenizer from the Hub, or find it where an earlier fetch left it."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    # The Hub's library has many errors, for names, for the network, for rights.
    except Exception as error:
        said = str(error).strip().split("\n", 1)[0]
        raise ValueError(f"no tokenizer is found for {quoted(name)}: {said}") from error
