"""The embedding model of `folkmoot[embed]`, which needs no network: the mean of a text's word vectors.

The package wordllama carries the vectors and their tokenizer. Its files are read, and its code is left alone: that asks
the network for the tokenizer, which it has, and sets up the process's logging.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODEL = "wordllama"
HANDLE = f"offline/{MODEL}"

LONGEST_TEXT = 20_000
"""Characters of a text that its vector is made of; what follows does not count."""

WINDOW = LONGEST_TEXT // 4
"""The same in tokens, about."""

EXTRA = "pip install 'folkmoot[embed]'"
"""What installs the vectors and the packages that read them."""

_VECTORS = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")


def is_installed() -> bool:
    """Tell whether the package with the vectors is there."""
    return find_spec(MODEL) is not None


class OfflineEmbedding:
    """The vectors of a vocabulary of 32,000 pieces of words, in memory as they are in their file, 16 MB."""

    def __init__(self) -> None:
        """Read the files of the package, which has to be installed; this takes half a second."""
        from safetensors import safe_open
        from tokenizers import Tokenizer

        found = find_spec(MODEL)
        assert found is not None
        assert found.origin is not None
        folder = Path(found.origin).parent
        with safe_open(folder / _VECTORS, framework="numpy") as file:
            self._vectors: Any = file.get_tensor("embedding.weight")
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """Return a vector of 256 values for each text, one text after the other so that none is held for another."""
        return [self._mean(text[:LONGEST_TEXT]) for text in texts]

    def _mean(self, text: str) -> Sequence[float]:
        # As a batch: for a single text the tokenizer keeps the interpreter's lock, 0.2 s for one of rare characters.
        pieces = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
        mean: Sequence[float] = self._vectors[pieces].mean(axis=0, dtype="float32").tolist()
        return mean
