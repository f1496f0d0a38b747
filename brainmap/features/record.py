"""Provenance of features."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brainmap.features.blocks import Plan

if TYPE_CHECKING:
    from brainmap.features.extractor import FeatureExtractor


def describe(extractor: FeatureExtractor, plan: Plan, reason: str | None) -> dict[str, Any]:
    """Everything needed to say how features were made; JSON-able.

    Parameters
    ----------
    extractor : FeatureExtractor
        That made them.
    plan : Plan
        Which images shared a batch.
    reason : str or None
        Why they are not stored, if they are not.
    """
    import transformers

    from brainmap import __version__

    model, objective = extractor.model, extractor.objective
    described: dict[str, Any] = {
        "model": model.name,
        "weights": model.weights,
        "weights_source": model.loaded.source,
        "weights_digest": model.digest,
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "site": extractor.site,
        "signals": list(extractor.signals),
        "projection": {name: part.identity() for name, part in extractor.projections.items() if part is not None},
        "layers": list(extractor.layers),
        "batch_size": extractor.batch_size,
        "batch_halved": extractor.largest is not None,
        "precision": model.precision,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "n_images": plan.images,
        "stored": reason is None,
        "not_stored_because": reason,
    }
    if objective is not None:
        described["objective"] = objective.identity(model)
        described["exactness"] = objective.label(model)
        described["batch_coupled"] = objective.batch_coupled
        if objective.batch_coupled:
            described["batch_composition"] = plan.composition()
        described["gradient_of"] = f"{extractor.wrt} of site '{extractor.site}', branch '{objective.branch(model)}'"
    libraries = {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__}
    described["versions"] = {"brainmap": __version__, "python": platform.python_version(), **libraries}
    return described
