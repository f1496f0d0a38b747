"""Which works a study should cite, from what it actually did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmap.results.study_results import StudyResults

STUDY_A = (
    "Raugel et al. 2026, Misalignment Between Backpropagation and the Hierarchy of Brain Responses to Images, arXiv "
    "2605.28693 (gradients, residual)"
)
STUDY_B = (
    "Raugel et al. 2025, Disentangling the Factors of Convergence between Brains and Computer Vision Models, arXiv "
    "2508.18226 (encoding, spatial and temporal score)"
)
AREAS = "Glasser et al. 2016, A multi-modal parcellation of human cerebral cortex, Nature 536 (areas)"
RIDGE = "Hoerl & Kennard 1970, Ridge regression, Technometrics 12 (encoding model)"
FDR = "Benjamini & Hochberg 1995, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (multiple tests)"
FOLDS = "Nadeau & Bengio 2003, Inference for the generalization error, Machine Learning 52 (tests over folds)"
SCORE_TEST = (
    "Lin 1997, Variance component testing in generalised linear models, Biometrika 84, and Bell & McCaffrey 2002, Bias "
    "reduction in standard errors, Survey Methodology 28 (test of the residual)"
)


def citations(results: StudyResults) -> list[str]:
    """Return the works behind a study: those it names itself, such as its model's, and its methods.

    Parameters
    ----------
    results : StudyResults
        The study.

    Returns
    -------
    list of str
        Each with the reason in brackets; nothing that was not used.
    """
    p = results.provenance
    cited = [str(item) for item in p.get("citations") or []]
    cited.append(RIDGE)
    signals = {str(name) for scores in results.scores.values() for name in scores["signal"].values}
    if "gradient" in signals or results.residual:
        cited.append(STUDY_A)
    if results.hierarchy:
        cited.append(STUDY_B)
    if "fmri" in results.scores:
        cited.append(AREAS)
    methods = " ".join(str(text) for text in _texts(p.get("p_values"))).lower()
    if "benjamini–hochberg" in methods:
        cited.append(FDR)
    if "over folds" in methods:
        cited.append(FOLDS)
    if results.residual and "sign flips" in methods:
        cited.append(SCORE_TEST)
    return list(dict.fromkeys(cited))


def _texts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else [value or ""]
