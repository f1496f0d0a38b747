"""Sizes of the tiny transformers that tests build from the real config classes."""

from __future__ import annotations

TOWER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {**TOWER, "vocab_size": 60, "max_position_embeddings": 10, "bos_token_id": 1, "eos_token_id": 59}
