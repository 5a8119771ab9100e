"""Count tokens with a named tokenizer. Needs the library `tokenizers`, which is an extra."""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from soupstock.errors import quoted


def count_tokens(texts: Sequence[str], tokenizer: str) -> list[int]:
    """Count each text's tokens, without special tokens.

    `tokenizer` is the path of a `tokenizer.json`, or a model's name on the Hub. The path may end in
    `@` and the beginning of the SHA-256 that the file must have.

    Raises:
        ValueError: The library, the file or the model is missing; the message is for the user.
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
        raise ValueError(f"{quoted(tokenizer)} is not a tokenizer: {error}") from error
    # A tokenizer's own limits are for a model's input; here they would hide long texts.
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
    """Download a model's tokenizer from the Hub, or find it in the Hub's cache."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    # The Hub's library raises many kinds of errors: for names, the network, access rights.
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ValueError(f"there is no tokenizer for {quoted(name)}: {reason}") from error
