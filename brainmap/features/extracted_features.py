"""``Features``: what extraction returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import as_names, is_term_signal
from brainmap.common.readable import counted, html_table, shortened
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

    Examples
    --------
    >>> import brainmap
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU())
    >>> model = brainmap.from_module(network, name="mine", layers=["1"], code_version="1")
    >>> features = brainmap.FeatureExtractor(model).extract(brainmap.sample_stimuli().subset(range(4)))
    >>> features.signals, features.layers, features.losses.shape
    (('activation', 'gradient'), ('1',), (4,))
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
        self._arrays = {
            key: rows for key, rows in arrays.items() if key[0] in ("activation", "gradient") or is_term_signal(key[0])
        }
        loss = arrays.get(("loss", ""))
        self.losses = None if loss is None else np.asarray(loss)[:, 0]
        self.gradient_norms = {
            layer: np.asarray(rows)[:, 0] for (signal, layer), rows in arrays.items() if signal == "gradient-norm"
        }

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals extracted: ``activation``, ``gradient``, ``gradient of …`` for each term of a loss that is split."""
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
        images, layers = counted(len(self.ids), "image"), counted(len(self.layers), "layer")
        return f"<Features of {model}: {', '.join(self.signals)}; {images} × {self._widths()} dimensions, {layers}>"

    def _repr_html_(self) -> str:
        """Return what the features hold as a small table for notebooks."""
        site, pooling = (str(self.provenance.get(name, "")) for name in ("site", "pooling"))
        rows = {
            "signals": ", ".join(self.signals),
            "images": f"{len(self.ids):,}",
            "layers": shortened(self.layers),
            "dimensions": self._widths(),
            "site, pooling": ", ".join(filter(None, (site, pooling))),
            "objective": str(self.provenance.get("objective") or ""),
        }
        return html_table(f"Features of {self.provenance.get('model', '?')}", {k: v for k, v in rows.items() if v})

    def _widths(self) -> str:
        widths = sorted({int(rows.shape[1]) for rows in self._arrays.values()})
        return f"{widths[0]:,}" if len(widths) == 1 else f"{widths[0]:,} to {widths[-1]:,}"

    def to_frame(
        self,
        signal: str | Iterable[str] | None = None,
        layers: str | Iterable[str] | None = None,
        *,
        memory: str | int = "4GB",
    ) -> pd.DataFrame:
        """Return the features as a table, one row per image.

        Parameters
        ----------
        signal, layers : str or sequence of str, optional
            Which; all by default.
        memory : str or int
            Bound on the size of the table.

        Returns
        -------
        pandas.DataFrame
            Rows are content ids (``stimulus``), columns ``(signal, layer, dimension)``.

        Raises
        ------
        InputError
            For a signal or layer that there is not, or a table larger than ``memory``.

        Examples
        --------
        >>> features.to_frame("activation", "block.11")  # doctest: +SKIP
        """
        signals = self.signals if signal is None else as_names(signal)
        chosen = [(one, layer) for one in signals for layer in (self.layers if layers is None else as_names(layers))]
        arrays = {key: self[key] for key in chosen}
        size = sum(rows.shape[0] * rows.shape[1] * np.dtype(rows.dtype).itemsize for rows in arrays.values())
        if size > parse_memory(memory):
            raise InputError(
                f"The table needs {size / 1e9:.1f} GB, more than memory={memory!r}; choose layers and a signal, or "
                "give more memory."
            )
        columns = [(*key, number) for key, rows in arrays.items() for number in range(rows.shape[1])]
        return pd.DataFrame(
            np.concatenate([np.asarray(rows) for rows in arrays.values()], axis=1),
            index=pd.Index(self.ids, name="stimulus"),
            columns=pd.MultiIndex.from_tuples(columns, names=["signal", "layer", "dimension"]),
        )

    def by_layer(self, signal: str) -> dict[str, Rows]:
        """``{layer: (n, d)}`` of one signal, as :func:`brainmap.cross_val_encode` takes it."""
        return {layer: self[signal, layer] for layer in self.layers}
