"""Captions to token ids for models with a text tower."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Tokenizer(ABC):
    """Captions to the inputs of a text tower.

    Attributes
    ----------
    identity : str
        What decides the token ids; part of the feature store's key.
    """

    identity: str

    @abstractmethod
    def __call__(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` (n, length), and an ``attention_mask`` where the tower uses one."""


class HubTokenizer(Tokenizer):
    """The model's own tokenizer, from its repository or folder.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        As loaded.
    length : int
        Captions are padded and cut to this many tokens.
    identity : str
        Where the vocabulary comes from.
    lowercase : bool
        Whether captions are lower-cased first.
    mask : bool
        Whether padding is masked; SigLIP's text tower reads it, as in training.
    """

    def __init__(
        self, tokenizer: Any, length: int, identity: str, *, lowercase: bool = False, mask: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._length = length
        self._lowercase = lowercase
        self._names = ("input_ids", "attention_mask") if mask else ("input_ids",)
        how = " lower case" * lowercase + ", padding read" * (not mask)
        self.identity = f"{identity} length {length}{how}"

    def __call__(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Tokenize as the model was trained: padded to full length."""
        captions = [caption.lower() for caption in captions] if self._lowercase else list(captions)
        encoded = self._tokenizer(
            captions, padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )
        return {name: encoded[name] for name in self._names if name in encoded}


class HashedWords(Tokenizer):
    """Words hashed into a vocabulary: for untrained text towers, which know no vocabulary, and for tests.

    Parameters
    ----------
    config : text configuration of ``transformers``
        Gives the vocabulary's size and the ids of special tokens.
    length : int
        Captions are padded and cut to this many tokens.
    """

    def __init__(self, config: Any, length: int) -> None:
        self._length = min(length, config.max_position_embeddings)
        self._end = config.vocab_size - 1  # the largest id: CLIP's text tower pools at the largest
        self._words = max(1, config.vocab_size - 3)
        self.identity = f"hashed words, vocabulary {config.vocab_size}, length {self._length}"

    def __call__(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Hash the words of each caption."""
        ids = torch.zeros(len(captions), self._length, dtype=torch.long)
        for row, caption in enumerate(captions):
            words = caption.lower().split()[: self._length - 2]
            hashes = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little") for word in words]
            tokens = [1, *(2 + value % self._words for value in hashes), self._end]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return {"input_ids": ids}
