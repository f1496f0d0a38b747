"""``Features``: what extraction returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.features.store import StoredRows

Rows = np.ndarray | StoredRows


class Features(Mapping[tuple[str, str], Rows]):
    """Activations and gradients of a stimulus set, row-aligned to it.

    ``features["activation", "block.3"]`` is (n, d): an array, or a lazily read one where a store is used
    (``np.asarray`` reads it).

    Attributes
    ----------
    ids : ndarray of str, (n,)
        Stimulus ids of the rows.
    layers : tuple of str
        In order of depth.
    depths : dict of str to float
        Depth k of each layer, 0 … 1.
    losses : ndarray or None, (n,)
        The objective's value for each image, where gradients were extracted.
    gradient_norms : dict of str to ndarray, (n,)
        Euclidean norm of each image's whole gradient at each layer, over all tokens, before pooling.
    provenance : dict
        Everything needed to say how the numbers were made; JSON-able.
    """

    def __init__(
        self,
        arrays: Mapping[tuple[str, str], Rows],
        *,
        ids: np.ndarray,
        depths: Mapping[str, float],
        provenance: Mapping[str, Any],
    ) -> None:
        self.ids = ids
        self.depths = dict(depths)
        self.layers = tuple(depths)
        self.provenance = dict(provenance)
        self._arrays = {key: rows for key, rows in arrays.items() if key[0] in ("activation", "gradient")}
        loss = arrays.get(("loss", ""))
        self.losses = None if loss is None else np.asarray(loss)[:, 0]
        self.gradient_norms = {
            layer: np.asarray(rows)[:, 0] for (signal, layer), rows in arrays.items() if signal == "gradient-norm"
        }

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals extracted: ``activation``, ``gradient``."""
        return tuple(dict.fromkeys(signal for signal, _ in self._arrays))

    def __getitem__(self, key: tuple[str, str]) -> Rows:
        """Rows (n, d) of a (signal, layer).

        Raises
        ------
        InputError
            Naming what there is.
        """
        try:
            return self._arrays[key]
        except KeyError:
            have = f"signals {', '.join(self.signals)} and layers {', '.join(self.layers)}"
            raise InputError(f"There are no features {key!r}; these have {have}, as features[signal, layer].") from None

    def __contains__(self, key: object) -> bool:
        """Whether a (signal, layer) was extracted."""
        return key in self._arrays

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """All (signal, layer), layers in order of depth within each signal."""
        return iter(self._arrays)

    def __len__(self) -> int:
        """Number of (signal, layer) arrays."""
        return len(self._arrays)

    def __repr__(self) -> str:
        """Model, signals, layers and images."""
        model = self.provenance.get("model", "?")
        return f"Features({model!r}, {len(self.ids)} images, {len(self.layers)} layers, signals={self.signals})"

    def by_layer(self, signal: str) -> dict[str, Rows]:
        """``{layer: (n, d)}`` of one signal, as :func:`brainmap.cross_val_encode` takes it."""
        return {layer: self[signal, layer] for layer in self.layers}
