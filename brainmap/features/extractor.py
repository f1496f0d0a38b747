"""``FeatureExtractor``: activations and gradients of a model for a set of photographs, in memory or in the store."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from brainmap.errors import InputError
from brainmap.features import capture
from brainmap.features.blocks import ArrayKey, BlockWriter, FeatureSink, MemoryArray, Plan, one_ahead, short_hash
from brainmap.features.pooling import check_pooling, norms
from brainmap.features.projection import RandomProjection
from brainmap.features.reduction import reduce_tokens, weight_gradient_norms, weight_gradients
from brainmap.features.result import Features, Rows
from brainmap.features.store import FeatureStore, unknown_parts
from brainmap.models.batch import Batch
from brainmap.models.objectives import Objective, find_objective
from brainmap.models.vision_model import VisionModel
from brainmap.progress import track

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet

# Raise a stage's number when its results change; a release of the package alone must not throw features away.
ALGORITHM_VERSIONS = {"preprocessing": 1, "capture": 1, "pooling": 1, "views": 1}
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
    pooling : {"patch-mean", "cls", "register-mean", "all-mean", "flatten"}
        How tokens become one row per image; see :mod:`brainmap.features.pooling`.
    objective : str or Objective, optional
        Loss whose gradient is taken; the model's default. ``model.objectives`` lists names.
    batch_size : int
        Images per pass. Part of the store's key, because it can change the last bits.
    store : FeatureStore, str or Path, optional
        Where rows are kept and found again; in memory by default.
    wrt : {"output", "weights"}
        Gradient with respect to the site's output, or to the weights of the linear layer the site is the output of
        (``mlp``, ``attn``); the latter needs a projection.
    projection : RandomProjection or dict, optional
        Random projection on the fly: of gradients, or of the signals a dict names (``{"activation": …}``).

    Notes
    -----
    Activations are those of the plain, preprocessed image. An objective that looks at the plain image too
    (``plain_view``) shares that forward pass; one that draws its own views (DINO, iBOT, headless) needs a forward pass
    of its own, through the student where there is one.

    The gradient is ``∂ L_i / ∂ h_i``: of image i's loss with respect to the site's output tokens for all views of
    image i that the objective runs through the differentiated network, pooled as the activations are. A loss that reads
    the CLS token only (``dino``, cross-entropy of a ViT, CLIP's similarity) leaves the patch tokens of the last block
    without gradient: pool with ``cls`` or ``all-mean`` there.
    """

    def __init__(
        self,
        model: VisionModel,
        *,
        layers: Iterable[str] | None = None,
        signals: Sequence[str] = SIGNALS,
        site: str = "block",
        pooling: str = "patch-mean",
        objective: str | Objective | None = None,
        batch_size: int = 32,
        store: FeatureStore | str | Path | None = None,
        wrt: Literal["output", "weights"] = "output",
        projection: RandomProjection | Mapping[str, RandomProjection] | None = None,
    ) -> None:
        self.model = model
        self.layers = model.layer_names(layers)
        self.signals = tuple(signal for signal in SIGNALS if signal in signals)
        if not self.signals or set(signals) - set(SIGNALS):
            raise InputError(f"signals must be among {', '.join(SIGNALS)}, got {list(signals)}.")
        if site not in model.sites:
            raise InputError(f"Model '{model.name}' has no site '{site}'; it has {', '.join(model.sites)}.")
        self.site = site
        self.pooling = pooling
        check_pooling(pooling, tuple(model.role_slices(0)), model.name)
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        self.batch_size = batch_size
        self.objective = find_objective(model, objective) if "gradient" in self.signals else None
        self.store = store if store is None or isinstance(store, FeatureStore) else FeatureStore(store)
        self.wrt = wrt
        named = {"gradient": projection} if isinstance(projection, RandomProjection) else dict(projection or {})
        self.projections: dict[str, RandomProjection | None] = {signal: named.get(signal) for signal in SIGNALS}
        if "gradient" in self.signals:
            self._check_wrt()
        self._halved = False

    def _check_wrt(self) -> None:
        if self.wrt not in ("output", "weights"):
            raise InputError(f"wrt must be 'output' or 'weights', got '{self.wrt}'.")
        if self.wrt == "output":
            return
        modules = self.model.site_modules(self.layers, self.site)
        if not all(isinstance(module, torch.nn.Linear) for module in modules.values()):
            able = "a site that is a linear layer's output, such as mlp"
            raise InputError(f"Site '{self.site}' of '{self.model.name}' has no weights of its own; use {able}.")
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
        if "activation" in self.signals:
            for layer in self.layers:
                keys["activation", layer] = {**base, "pooling": self.pooling, **self._projected("activation")}
        if self.objective is not None:
            loss = {**base, "objective": self.objective.identity(self.model)}
            for layer in self.layers:
                pooling = {"pooling": self.pooling} if self.wrt == "output" else {}
                keys["gradient", layer] = {**loss, "wrt": self.wrt, **pooling, **self._projected("gradient")}
                keys["gradient-norm", layer] = {**loss, "wrt": self.wrt}
            keys["loss", ""] = {name: part for name, part in loss.items() if name != "site"}
        for (signal, layer), key in keys.items():
            key.update(signal=signal, layer=layer)
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
        self._halved = False
        reason = self.uncached_because()
        keys = self.array_keys()
        ids = [str(key) for key in stimuli.ids]
        plan = Plan(ids, self._row_keys(stimuli, ids), self.batch_size, self._coupled)
        if self.store is None or reason is not None:
            arrays: dict[ArrayKey, FeatureSink] = {key: MemoryArray() for key in keys}
            guard: Any = nullcontext()
        else:
            arrays = {name: self.store.array(key) for name, key in keys.items()}
            guard = self.store.lock(self.model.identity()) if plan.batches(arrays) else nullcontext()
        with guard:
            for array in arrays.values():
                array.refresh()
            self._fill(stimuli, plan, arrays)
        found: dict[ArrayKey, Rows] = {name: array.rows(plan.row_keys(name)) for name, array in arrays.items()}
        depths = {layer.name: layer.depth for layer in self.model.layers if layer.name in self.layers}
        return Features(found, ids=np.array(ids), depths=depths, provenance=self._provenance(len(ids), reason))

    @property
    def _coupled(self) -> bool:
        return self.objective is not None and self.objective.batch_coupled

    def _row_keys(self, stimuli: StimulusSet, ids: Sequence[str]) -> list[str]:
        """Row keys of gradients and losses: the id, with a hash of the table's cells the objective reads."""
        if self.objective is None or not self.objective.needs:
            return list(ids)
        empty = torch.empty(0)
        columns = [Batch([], empty, ids, stimuli.table).column(name) for name in self.objective.needs]
        return [f"{key}-{short_hash([str(cell) for cell in cells])}" for key, *cells in zip(ids, *columns, strict=True)]

    def _fill(self, stimuli: StimulusSet, plan: Plan, arrays: Mapping[ArrayKey, FeatureSink]) -> None:
        """Compute the missing batches; reading runs one batch ahead, writing one block behind."""
        batches = plan.batches(arrays)
        if not batches:
            return
        writer = BlockWriter(arrays, plan, self.batch_size)
        with ThreadPoolExecutor(1) as reading, writer:
            loaded = one_ahead(reading, lambda rows: self._load(stimuli, rows), batches)
            description = f"Features of {self.model.name}"
            for rows, batch in zip(track(batches, description, unit="batches"), loaded, strict=True):
                writer.add(rows, self.compute(batch))

    def _load(self, stimuli: StimulusSet, rows: np.ndarray) -> Batch:
        images = [stimuli.image(int(row)) for row in rows]
        table = stimuli.table.iloc[rows].reset_index(drop=True)
        return Batch(images, self.model.preprocess(images), [str(stimuli.ids[row]) for row in rows], table)

    def compute(self, batch: Batch) -> dict[ArrayKey, np.ndarray]:
        """Features of one batch: (signal, layer) to (n, d), including gradient norms and losses (n, 1).

        When a GPU runs out of memory the batch is halved, unless the objective couples its images.
        """
        try:
            return self._compute(batch)
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1 or self._coupled:
                raise
            torch.cuda.empty_cache()
            self._halved = True
            halves = [self.compute(part) for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :])]
            return {key: np.concatenate([half[key] for half in halves]) for key in halves[0]}

    def _compute(self, batch: Batch) -> dict[ArrayKey, np.ndarray]:
        model, result = self.model, {}
        wants_activations = "activation" in self.signals
        found = capture.Signals({}, {})
        if self.objective is not None:
            weights = self.wrt == "weights"
            found = capture.gradients(model, batch, self.layers, self.site, self.objective, inputs=weights)
        shown = found.activations
        if wants_activations and not shown:
            shown = capture.activations(model, batch, self.layers, self.site).activations
        for layer in self.layers:
            if wants_activations:
                views = shown.pop(layer)
                result["activation", layer] = _to_numpy(
                    reduce_tokens(model, views, self.pooling, self.projections["activation"])
                )
            if self.objective is not None:
                rows, sizes = self._gradient_rows(found, layer)
                result["gradient", layer] = _to_numpy(rows)
                result["gradient-norm", layer] = _to_numpy(sizes[:, None])
        if found.losses is not None:
            result["loss", ""] = _to_numpy(found.losses[:, None])
        for (signal, layer), values in result.items():
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
                where = f"{signal} {layer}".strip()
                raise InputError(f"The {where} of stimulus {batch.ids[row]} is not finite; try dtype='float32'.")
        return result

    def _gradient_rows(self, found: capture.Signals, layer: str) -> tuple[Tensor, Tensor]:
        """Reduced gradients (n, d) of a layer and norms (n,) of the whole ones; frees the layer's tokens."""
        views, projection = found.gradients.pop(layer), self.projections["gradient"]
        if self.wrt == "weights" and projection is not None:
            inputs = found.inputs.pop(layer)
            return weight_gradients(views, inputs, projection), weight_gradient_norms(views, inputs)
        return reduce_tokens(self.model, views, self.pooling, projection), norms(views)

    # -- provenance -----------------------------------------------------------------------------------------------

    def _provenance(self, images: int, reason: str | None) -> dict[str, Any]:
        import transformers

        from brainmap import __version__

        model, objective = self.model, self.objective
        described: dict[str, Any] = {
            "model": model.name,
            "weights": model.weights,
            "weights_source": model.loaded.source,
            "weights_digest": model.digest,
            "preprocessing": model.preprocessing.model_dump(mode="json"),
            "site": self.site,
            "pooling": self.pooling,
            "signals": list(self.signals),
            "projection": {name: part.identity() for name, part in self.projections.items() if part is not None},
            "layers": list(self.layers),
            "batch_size": self.batch_size,
            "batch_halved": self._halved,
            "precision": model.precision,
            "device": str(model.device),
            "threads": torch.get_num_threads(),
            "n_images": images,
            "stored": reason is None,
            "not_stored_because": reason,
        }
        if objective is not None:
            described["objective"] = objective.identity(model)
            described["exactness"] = objective.label(model)
            described["batch_coupled"] = objective.batch_coupled
            described["gradient_of"] = f"{self.wrt} of site '{self.site}', branch '{objective.branch(model)}'"
        libraries = {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__}
        described["versions"] = {"brainmap": __version__, "python": platform.python_version(), **libraries}
        return described


def _to_numpy(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.promote_types(values.dtype, torch.float32)).numpy()
