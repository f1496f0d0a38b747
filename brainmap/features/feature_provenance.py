"""Provenance of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from brainmap.common.versions import versions
from brainmap.features.feature_blocks import ExtractionPlan

if TYPE_CHECKING:
    from brainmap.features.extractor import FeatureExtractor


def feature_provenance(extractor: FeatureExtractor, plan: ExtractionPlan, reason: str | None) -> dict[str, Any]:
    """Everything needed to say how features were made; JSON-able.

    Parameters
    ----------
    extractor : FeatureExtractor
        That made them.
    plan : ExtractionPlan
        Which images shared a batch.
    reason : str or None
        Why they are not stored, if they are not.
    """
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
        if extractor.terms != "together":
            described["terms"] = list(objective.terms(model))
        described["batch_coupled"] = objective.batch_coupled
        if objective.batch_coupled:
            described["batch_composition"] = plan.composition()
        described["remarks"] = list(objective.remarks(model, plan.ids))
        passes = objective.passes(model)
        if passes is not None:
            described["passes"] = {"forward": round(passes.forward, 3), "backward": round(passes.backward, 3)}
        described["gradient_of"] = f"{extractor.wrt} of site '{extractor.site}', branch '{objective.branch(model)}'"
    described["versions"] = dict(versions(("torch", "transformers", "numpy")))
    return described
