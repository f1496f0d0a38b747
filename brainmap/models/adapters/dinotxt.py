"""dino.txt: a text tower and a small vision head, trained contrastively on a frozen DINOv3.

``transformers`` has no class for it. Modules are named as in the authors' checkpoint, so that it loads strictly; the
backbone is the library's. The authors publish two files, the backbone and "vision head and text encoder": pass the
folder that holds both as weights, or one file with everything.

References
----------
.. [1] Jose et al. 2024, *DINOv2 meets text: a unified framework for image- and pixel-level vision-language alignment*.
.. [2] Siméoni et al. 2025, *DINOv3*, section 6.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models.adapters.adapter import Adapter, transformers_class, transformers_config
from brainmap.models.adapters.transformers_library import ImageTextAdapter
from brainmap.models.checkpoints.weight_files import SUFFIXES, fill, read_tensors
from brainmap.models.model_cards import ModelCard


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.proj(attended.transpose(1, 2).flatten(2))


class _Gain(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))


class _Gated(nn.Module):
    """SwiGLU, hidden width rounded up to a multiple of 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = -(-int(4 * width * 2 / 3) // 64) * 64
        self.w1, self.w2, self.w3 = nn.Linear(width, hidden), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.w3(F.silu(self.w1(tokens)) * self.w2(tokens))


class _HeadBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = _Attention(width, heads, causal=False), _Gated(width)
        self.ls1, self.ls2 = _Gain(width), _Gain(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens)) * self.ls1.gamma
        return tokens + self.mlp(self.norm2(tokens)) * self.ls2.gamma


class _VisionHead(nn.Module):
    def __init__(self, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_HeadBlock(width, heads) for _ in range(blocks))
        self.ln_final = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return self.ln_final(tokens)


class _TextBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads, causal=True)
        layers = {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        self.feed_forward = nn.ModuleDict(layers)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        hidden = F.gelu(self.feed_forward["fc1"](self.ffn_norm(tokens)))
        return tokens + self.feed_forward["fc2"](hidden)


class _TextBackbone(nn.Module):
    def __init__(self, text: SimpleNamespace) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(text.vocab_size, text.hidden_size)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(text.max_position_embeddings, text.hidden_size))
        blocks = (_TextBlock(text.hidden_size, text.num_attention_heads) for _ in range(text.num_hidden_layers))
        self.blocks = nn.ModuleList(blocks)
        self.ln_final = nn.LayerNorm(text.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        return self.ln_final(tokens)


class DINOTxt(nn.Module):
    """DINOv3 backbone with vision head, text tower and temperature.

    Parameters
    ----------
    backbone : nn.Module
        A ``DINOv3ViTModel``.
    text : SimpleNamespace
        Sizes of the text tower, named as in the text configurations of ``transformers``.
    head_blocks : int
        Blocks of the vision head.
    """

    def __init__(self, backbone: Any, text: SimpleNamespace, *, head_blocks: int = 2) -> None:
        super().__init__()
        width, heads = backbone.config.hidden_size, backbone.config.num_attention_heads
        self.visual_model = nn.ModuleDict({"backbone": backbone, "head": _VisionHead(width, heads, head_blocks)})
        projection = nn.Linear(text.hidden_size, 2 * width, bias=False)
        head = nn.ModuleDict({"linear_projection": projection})
        self.text_model = nn.ModuleDict({"backbone": _TextBackbone(text), "head": head})
        self.logit_scale = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))
        self.config = SimpleNamespace(text_config=text, to_dict=lambda: {**backbone.config.to_dict(), **vars(text)})

    def image_embedding(self, tokens: Tensor, first_patch: int) -> Tensor:
        """CLS and mean patch token after the vision head, side by side (n, 2 d), from final tokens (n, T, d)."""
        tokens = self.visual_model["head"](tokens)
        return torch.cat([tokens[:, 0], tokens[:, first_patch:].mean(1)], dim=1)

    def text_embedding(self, ids: Tensor) -> Tensor:
        """Projected token at the caption's end, which has the largest id (n, 2 d)."""
        tokens = self.text_model["backbone"](ids)
        ends = tokens[torch.arange(len(ids), device=ids.device), ids.argmax(1)]
        projected: Tensor = self.text_model.get_submodule("head.linear_projection")(ends)
        return projected


class DINOTxtAdapter(ImageTextAdapter):
    """dino.txt; layers are the blocks of its DINOv3 backbone."""

    def build(self, seed: int) -> nn.Module:
        """Build from the card's sizes with initial weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            card = self._vision_card()
            backbone = transformers_class(card)(transformers_config(card)).float()
            return DINOTxt(backbone, SimpleNamespace(**self.card.config["text_config"]))

    def _vision_card(self) -> ModelCard:
        vision = {name: value for name, value in self.card.config.items() if name != "text_config"}
        return self.card.model_copy(update={"config": vision})

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Convert the backbone's names, build and fill strictly."""
        inside = "visual_model.backbone."
        backbone = {name.removeprefix(inside): t for name, t in tensors.items() if name.startswith(inside)}
        rest = {name: t for name, t in tensors.items() if name.startswith(("visual_model.head.", "text_model."))}
        loose = {n: t for n, t in tensors.items() if not n.startswith(("visual_model.", "text_model.", "logit_"))}
        backbone = backbone or loose
        if not rest or not backbone:
            lacking = "its vision head and text tower" if backbone else "its DINOv3 backbone"
            raise InputError(
                f"Weights {source} of '{self.card.name}' lack {lacking}: the authors publish two files, pass the "
                "folder that holds both."
            )
        vision = Adapter(self._vision_card()).from_tensors(backbone, source)
        with torch.random.fork_rng(devices=[]):
            module = DINOTxt(vision, SimpleNamespace(**self.card.config["text_config"]))
        named = {inside + name: tensor for name, tensor in vision.state_dict().items()}
        return fill(module, {**named, **rest, "logit_scale": tensors["logit_scale"].reshape(1)}, source)

    def pretrained(self, location: str | Path | None, *, source: str = "", **options: Any) -> nn.Module:
        """Load from a folder with the authors' two files, or with one file that ``torch`` or ``safetensors`` wrote."""
        files = sorted(file for file in Path(str(location)).glob("*") if file.suffix in SUFFIXES)
        if not files:
            raise MissingFileError(f"{location} holds no checkpoint files ({', '.join(sorted(SUFFIXES))}).")
        tensors = {name: tensor for file in files for name, tensor in read_tensors(file)[0].items()}
        return self.from_tensors(tensors, source or str(location))

    def image_embedding(self, module: Any, pixels: Tensor) -> Tensor:
        """Image vectors (n, 2 d), not normalised; runs the backbone once."""
        tokens = self.tokens(self.forward(module.get_submodule(self.card.network), pixels))
        return module.image_embedding(tokens, sum(self.card.tokens.values()))

    def text_embedding(self, module: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        """Caption vectors (n, 2 d), not normalised."""
        return module.text_embedding(tokens["input_ids"])
