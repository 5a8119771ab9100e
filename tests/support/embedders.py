"""A small embedding model, for tests that compare meanings."""

from pathlib import Path

import numpy as np
import pytest


def static_model(path: Path) -> None:
    """Save a static model of nine words, in three directions."""
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["cat", "kitten", "pet", "car", "automobile", "vehicle", "soup", "broth", "stew"]
    places = {"[UNK]": 0} | {word: n for n, word in enumerate(words, 1)}
    tokenizer = Tokenizer(WordLevel(places, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[attr-defined,unused-ignore]
    vectors = np.zeros((len(places), 4), np.float32)
    for n in range(9):
        vectors[n + 1, n // 3] = 1
        vectors[n + 1, 3] = 0.05 * (n % 3)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(path)
