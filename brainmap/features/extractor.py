"""``FeatureExtractor``: activations and gradients of a model for a set of photographs, in memory or in the store."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.progress import track
from brainmap.common.storage.files import short_hash
from brainmap.features import capture
from brainmap.features.batch_size import available_memory, batch_size_for, halved, out_of_memory
from brainmap.features.extracted_features import Features, Rows
from brainmap.features.feature_blocks import ArrayKey, BlockWriter, ExtractionPlan, FeatureSink, MemoryArray, one_ahead
from brainmap.features.feature_provenance import feature_provenance
from brainmap.features.pooling import check_pooling, norms
from brainmap.features.projection import RandomProjection
from brainmap.features.reduction import (
    Terms,
    plain_name,
    reduce_tokens,
    signal_at,
    term_arrays,
    weight_gradient_norms,
    weight_gradients,
)
from brainmap.features.shares import RowsOfShares, fill_share, help_out
from brainmap.features.store import FeatureStore, unknown_parts
from brainmap.models.image_batch import ImageBatch, filled_column
from brainmap.models.objectives import Objective, find_objective
from brainmap.models.vision_model import VisionModel

if TYPE_CHECKING:
    import pandas as pd

    from brainmap.stimuli import StimulusSet


# Raise a stage's number when its results change; a release of the package alone must not throw features away.
ALGORITHM_VERSIONS = {"preprocessing": 2, "capture": 1, "pooling": 1, "views": 1}
SIGNALS = ("activation", "gradient")


class FeatureExtractor:
    """Extract activations and gradients in one forward and one backward pass per batch.

    Parameters
    ----------
    model : VisionModel
        From :func:`brainmap.load_model`.
    layers : iterable of str, optional
        Logical names such as ``block.3``; all by default.
    signals : sequence of {"activation", "gradient"}
        What to extract.
    site : {"block", "mlp", "attn"}
        Residual stream after the block, or output of the last projection of its MLP or attention.
    pooling : {"patch-mean", "cls", "register-mean", "all-mean", "flatten"}, or several
        How tokens become one row per image; see :mod:`brainmap.features.pooling`. Several are read off the same passes
        by :meth:`extract_poolings`.
    objective : str or Objective, optional
        Loss whose gradient is taken; the model's default. ``model.objectives`` lists names.
    batch_size : int, optional
        Images per pass. Part of the store's key, because it can change the last bits. None: the largest power of two
        that ``memory`` holds, measured when first needed.
    memory : str or int, optional
        Budget for weights and one batch, such as ``"8GB"``. On the CPU fewer images than ``batch_size`` share a pass
        where they would not fit; a loss over a batch keeps its batch. Where ``batch_size`` is None, the default is four
        fifths of what a GPU has free, or 4 GB of the machine's memory.
    store : FeatureStore, str or Path, optional
        Where rows are kept and found again; in memory by default.
    wrt : {"output", "weights"}
        Gradient with respect to the site's output, or to the weights of the linear layer the site is the output of
        (``mlp``, ``attn``); the latter needs a projection.
    projection : RandomProjection or dict, optional
        Random projection on the fly: of gradients, or of the signals a dict names (``{"activation": …}``).
    terms : {"together", "split", "split-by-role"}
        ``split``: besides, the gradient of every term of the loss, as signals ``gradient of dino``, ``gradient of
        ibot`` …, whose sum is ``gradient``. ``split-by-role``: of every term at the tokens of every role, as ``gradient
        of dino at cls``, ``gradient of dino at patch`` …, each pooled over its own tokens. One more backward pass a
        term, whatever the number of roles.

    Notes
    -----
    Activations are those of the plain, preprocessed image. An objective that looks at the plain image too
    (``plain_view``) shares that forward pass; one that draws its own views (DINO, iBOT, headless) needs a forward pass
    of its own, through the student where there is one.

    The gradient is ``∂ L_i / ∂ h_i``: of image i's loss with respect to the site's output tokens for all views of
    image i that the objective runs through the differentiated network, pooled as the activations are. A loss that reads
    the CLS token only (``dino``, cross-entropy of a ViT, CLIP's similarity) leaves the patch tokens of the last block
    without gradient: pool with ``cls`` or ``all-mean`` there.

    Examples
    --------
    >>> import brainmap
    >>> stimuli = brainmap.sample_stimuli().subset(range(8))
    >>> model = brainmap.load_model("dino-tiny")
    >>> features = brainmap.FeatureExtractor(model, layers=["block.0", "block.11"]).extract(stimuli)
    >>> features["gradient", "block.11"].shape
    (8, 96)
    """

    def __init__(
        self,
        model: VisionModel,
        *,
        layers: Iterable[str] | None = None,
        signals: Sequence[str] = SIGNALS,
        site: str = "block",
        pooling: str | Sequence[str] = "patch-mean",
        objective: str | Objective | None = None,
        batch_size: int | None = 32,
        memory: str | int | None = None,
        store: FeatureStore | str | Path | None = None,
        wrt: Literal["output", "weights"] = "output",
        projection: RandomProjection | Mapping[str, RandomProjection] | None = None,
        terms: Terms = "together",
    ) -> None:
        self.model = model
        self.layers = model.layer_names(layers)
        signals = as_names(signals)
        self.signals = tuple(signal for signal in SIGNALS if signal in signals)
        if not self.signals or set(signals) - set(SIGNALS):
            raise InputError(f"signals must be among {', '.join(SIGNALS)}, got {list(signals)}.")
        if site not in model.sites:
            raise InputError(f"Model '{model.name}' has no site '{site}'; it has {', '.join(model.sites)}.")
        self.site = site
        self.poolings = tuple(dict.fromkeys(as_names(pooling)))
        for name in self.poolings:
            check_pooling(name, tuple(model.role_slices(0)), model.name)
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        self._batch_size = batch_size
        self._settled_batch_size: int | None = None
        self._memory = memory
        self.objective = find_objective(model, objective) if "gradient" in self.signals else None
        self.store = store if store is None or isinstance(store, FeatureStore) else FeatureStore(store)
        self.wrt = wrt
        named = {"gradient": projection} if isinstance(projection, RandomProjection) else dict(projection or {})
        self.projections: dict[str, RandomProjection | None] = {signal: named.get(signal) for signal in SIGNALS}
        if "gradient" in self.signals:
            self._check_wrt()
        self.terms = terms
        given = None if self.wrt == "weights" else self.objective
        self._of_terms = term_arrays(model, given, terms, self.poolings)
        self.largest: int | None = None  # images per pass, once a device ran out of memory

    @property
    def batch_size(self) -> int:
        """Images per pass, found from the memory budget where none was given."""
        return self._planned_batch_size(None)

    def _planned_batch_size(self, table: pd.DataFrame | None) -> int:
        if self._settled_batch_size is None:
            given = self._batch_size
            if given is not None and (self._memory is None or self._coupled or self.model.device.type != "cpu"):
                self._settled_batch_size = given
            else:
                memory = available_memory(self.model) if self._memory is None else self._memory
                largest = {} if given is None else {"largest": given}
                self._settled_batch_size = batch_size_for(
                    self.model,
                    memory,
                    objective=self.objective,
                    site=self.site,
                    table=table,
                    gradients=self._gradients,
                    **largest,
                )
        return self._settled_batch_size

    @property
    def _gradients(self) -> bool:
        return self.objective is not None

    def _check_wrt(self) -> None:
        if self.wrt not in ("output", "weights"):
            raise InputError(f"wrt must be 'output' or 'weights', got '{self.wrt}'.")
        if self.wrt == "output":
            return
        modules = self.model.site_modules(self.layers, self.site)
        if not all(isinstance(module, torch.nn.Linear) for module in modules.values()):
            able = "a site that is a linear layer's output, such as mlp"
            raise InputError(f"Site '{self.site}' of '{self.model.name}' has no weights of its own; use {able}.")
        if len(self.poolings) > 1:
            raise InputError("Gradients of weights have no tokens to pool: give one pooling.")
        if self.projections["gradient"] is None:
            raise InputError("Gradients of weights are too large to keep: give projection=RandomProjection(800).")

    # -- keys -----------------------------------------------------------------------------------------------------

    def array_keys(self) -> dict[ArrayKey, dict[str, Any]]:
        """Store keys of all arrays: (signal, layer) to everything that decides the array's numbers."""
        base = {
            "model": self.model.identity(),
            "site": self.site,
            "batch_size": self.batch_size,
            "algorithms": ALGORITHM_VERSIONS,
        }
        keys: dict[ArrayKey, dict[str, Any]] = {}
        loss = {} if self.objective is None else {**base, "objective": self.objective.identity(self.model)}
        projected = self._projected("gradient")
        for layer in self.layers:
            for name in self.poolings if "activation" in self.signals else ():
                keys[signal_at("activation", name, self.poolings), layer] = {
                    **base,
                    "pooling": name,
                    **self._projected("activation"),
                }
            for name in self.poolings if loss else ():
                pooling = {"pooling": name} if self.wrt == "output" else {}
                gradient = {**loss, "wrt": self.wrt, **pooling, **projected}
                keys[signal_at("gradient", name, self.poolings), layer] = gradient
            for named, (term, name) in self._of_terms.items():
                keys[named, layer] = {**loss, "wrt": self.wrt, "pooling": name, "term": term, **projected}
            if loss:
                keys["gradient-norm", layer] = {**loss, "wrt": self.wrt}
        if loss:
            keys["loss", ""] = {name: part for name, part in loss.items() if name != "site"}
        for (signal, layer), key in keys.items():
            key.update(signal="gradient" if "term" in key else plain_name(signal), layer=layer)
        return keys

    def _projected(self, signal: str) -> dict[str, Any]:
        projection = self.projections[signal]
        return {} if projection is None else {"projection": projection.identity()}

    def uncached_because(self) -> str | None:
        """Why features are not kept on disk: no store, or a part of the key that is unknown; None if they are."""
        if self.store is None:
            return "no store was given"
        unknown = sorted({part for key in self.array_keys().values() for part in unknown_parts(key)})
        return f"unknown: {', '.join(unknown)}" if unknown else None

    # -- extraction -----------------------------------------------------------------------------------------------

    def extract(self, stimuli: StimulusSet) -> Features:
        """Extract, or find in the store, the features of all stimuli.

        Parameters
        ----------
        stimuli : StimulusSet
            n photographs. Rows already in the store are not computed again; others are computed in the order of the
            stimuli, in batches of ``batch_size``, and written block by block.

        Returns
        -------
        Features
            Rows in the order of the stimuli.

        Raises
        ------
        InputError
            If the table lacks a column the objective needs, or a result is not finite.
        """
        if len(self.poolings) > 1:
            raise InputError(f"Several poolings ({', '.join(self.poolings)}) are extracted with extract_poolings.")
        return self.extract_poolings(stimuli)[self.poolings[0]]

    def extract_share(self, stimuli: StimulusSet, share: tuple[int, int]) -> None:
        """Compute a share of the images that the store lacks, beside other processes: :meth:`extract` then finds them.

        Parameters
        ----------
        stimuli : StimulusSet
            All photographs.
        share : tuple of int
            Which of how many.
        """
        if self.store is None or self.uncached_because() is not None:
            return
        self.largest = None
        plan = self._plan(stimuli)
        fill_share(self.store, self.array_keys(), plan, share, partial(self._fill, stimuli, plan))

    def extract_poolings(self, stimuli: StimulusSet) -> dict[str, Features]:
        """Extract features for each of the poolings from the same forward and backward passes.

        Parameters
        ----------
        stimuli : StimulusSet
            As for :meth:`extract`. The store holds the same arrays as if the poolings were extracted one by one.

        Returns
        -------
        dict of str to Features
            By pooling.
        """
        self.largest = None
        plan, ids = self._plan(stimuli), [str(key) for key in stimuli.ids]
        reason = self.uncached_because()
        keys = self.array_keys()
        store = None if reason else self.store
        arrays: dict[ArrayKey, FeatureSink] = {
            name: MemoryArray() if store is None else store.array(key) for name, key in keys.items()
        }
        lacking = bool(plan.batches(arrays))
        guard: Any = nullcontext()
        if store is not None and lacking:
            meanwhile = partial(help_out, store, keys, plan, partial(self._fill, stimuli, plan))
            guard = store.lock(self.model.identity(), meanwhile)
        with guard:
            for array in arrays.values():
                array.refresh()
            if lacking:
                shares = RowsOfShares(store, keys, plan)
                self._fill(stimuli, plan, arrays, plan.batches(arrays), shares)
                shares.remove()
        kept_rows: dict[ArrayKey, Rows] = {name: array.rows(plan.row_keys(name)) for name, array in arrays.items()}
        depths = {layer.name: layer.depth for layer in self.model.layers if layer.name in self.layers}
        features = {}
        for pooling in self.poolings:
            own = {signal_at(signal, pooling, self.poolings): signal for signal in SIGNALS}
            if self.terms == "split":
                own |= {signal_at(name, pooling, self.poolings): name for name in map(plain_name, self._of_terms)}
            else:  # at tokens of their own, whatever the pooling of the rest
                own |= {name: name for name in self._of_terms}
            record = {**feature_provenance(self, plan, reason), "pooling": pooling}
            mine = {
                (own.get(name, name), layer): rows
                for (name, layer), rows in kept_rows.items()
                if name in own or name in ("gradient-norm", "loss")
            }
            features[pooling] = Features(mine, ids=np.array(ids), depths=depths, provenance=record)
        return features

    @property
    def _coupled(self) -> bool:
        return self.objective is not None and self.objective.batch_coupled

    def _row_keys(self, stimuli: StimulusSet, ids: Sequence[str]) -> list[str]:
        """Row keys of gradients and losses: the id, with a hash of the table's cells the objective reads."""
        if self.objective is None or not self.objective.needs:
            return list(ids)
        columns = [filled_column(stimuli.table, name, ids) for name in self.objective.needs]
        return [f"{key}-{short_hash([str(cell) for cell in cells])}" for key, *cells in zip(ids, *columns, strict=True)]

    def _plan(self, stimuli: StimulusSet) -> ExtractionPlan:
        ids = [str(key) for key in stimuli.ids]
        row_keys = self._row_keys(stimuli, ids)
        return ExtractionPlan(ids, row_keys, self._planned_batch_size(stimuli.table), self._coupled)

    def _fill(
        self, stimuli: StimulusSet, plan: ExtractionPlan, arrays: Mapping[ArrayKey, FeatureSink],
        batches: Sequence[np.ndarray], shares: RowsOfShares | None = None,
    ) -> None:  # fmt: skip
        """Compute batches, or find them in shares; reading runs one batch ahead, writing one block behind."""
        if not batches:
            return

        def load(rows: np.ndarray) -> ImageBatch | dict[ArrayKey, np.ndarray]:
            found = None if shares is None else shares.find(rows)
            return self._load(stimuli, rows) if found is None else found

        writer = BlockWriter(arrays, plan, self.batch_size)
        with ThreadPoolExecutor(1) as reading, writer:
            loaded = one_ahead(reading, load, batches)
            description = f"Features of {self.model.name}"
            for rows, batch in zip(track(batches, description, unit="batches"), loaded, strict=True):
                writer.add(rows, batch if isinstance(batch, dict) else self.compute(batch))

    def _load(self, stimuli: StimulusSet, rows: np.ndarray) -> ImageBatch:
        images = [stimuli.image(int(row)) for row in rows]
        table = stimuli.table.iloc[rows].reset_index(drop=True)
        return ImageBatch(images, self.model.preprocess(images), [str(stimuli.ids[row]) for row in rows], table)

    def compute(self, batch: ImageBatch) -> dict[ArrayKey, np.ndarray]:
        """Features of one batch: (signal, layer) to (n, d), including gradient norms and losses (n, 1).

        When a device runs out of memory the batch is halved, and stays so for the rest of the extraction, unless the
        objective couples its images.

        Raises
        ------
        InputError
            If a single image, or a batch that may not be divided, does not fit into memory.
        """
        size = self.largest or len(batch)
        if len(batch) > size:
            parts = [self.compute(batch[start : start + size]) for start in range(0, len(batch), size)]
            return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        try:
            return self._compute(batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self.largest = halved(len(batch), self.model, self.objective)
        # Only here is the failed attempt's traceback gone, and with it the tensors its frames held.
        gc.collect()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.compute(batch)

    def _compute(self, batch: ImageBatch) -> dict[ArrayKey, np.ndarray]:
        model, result = self.model, {}
        wants_activations = "activation" in self.signals
        signals = capture.Signals({}, {})
        if self.objective is not None:
            weights = self.wrt == "weights"
            split = bool(self._of_terms)
            signals = capture.gradients(
                model, batch, self.layers, self.site, self.objective, inputs=weights, by_term=split
            )
        shown = signals.activations
        if wants_activations and not shown:
            shown = capture.activations(model, batch, self.layers, self.site).activations
        for layer in self.layers:
            views = shown.pop(layer) if wants_activations else []
            for pooling in self.poolings if wants_activations else ():
                rows = reduce_tokens(model, views, pooling, self.projections["activation"])
                result[signal_at("activation", pooling, self.poolings), layer] = _to_numpy(rows)
            if self.objective is not None:
                result |= self._gradient_rows(signals, layer)
        if signals.losses is not None:
            result["loss", ""] = _to_numpy(signals.losses[:, None])
        for (signal, layer), values in result.items():
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
                where = f"{signal} {layer}".strip()
                raise InputError(f"The {where} of stimulus {batch.ids[row]} is not finite; try dtype='float32'.")
        return result

    def _gradient_rows(self, signals: capture.Signals, layer: str) -> dict[ArrayKey, np.ndarray]:
        """Reduced gradients (n, d) of a layer and norms (n, 1) of the whole ones; frees the layer's tokens."""
        views, projection = signals.gradients.pop(layer), self.projections["gradient"]
        if self.wrt == "weights" and projection is not None:
            inputs = signals.inputs.pop(layer)
            rows = _to_numpy(weight_gradients(views, inputs, projection))
            sizes = _to_numpy(weight_gradient_norms(views, inputs)[:, None])
            return {("gradient", layer): rows, ("gradient-norm", layer): sizes}
        pooled = {
            (signal_at("gradient", pooling, self.poolings), layer): _to_numpy(
                reduce_tokens(self.model, views, pooling, projection)
            )
            for pooling in self.poolings
        }
        terms = {term: parts.pop(layer) for term, parts in signals.by_term.items()}
        for name, (term, pooling) in self._of_terms.items():
            pooled[name, layer] = _to_numpy(reduce_tokens(self.model, terms[term], pooling, projection))
        return {**pooled, ("gradient-norm", layer): _to_numpy(norms(views)[:, None])}


def _to_numpy(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.promote_types(values.dtype, torch.float32)).numpy()
