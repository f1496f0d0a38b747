"""Representational similarity analysis: which pairs of images a model and a brain area find alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.comparison.image_resampling import (
    METHODS,
    bootstrap_images,
    bootstrap_pairs,
    corrected_interval,
    leave_one_out,
    permutation_p,
    permuted_images,
    similarity,
)
from brainmap.comparison.rdm_ceiling import RDMCeiling, noise_ceiling
from brainmap.comparison.representations import Distance, Representation, dissimilarity_stack, representations
from brainmap.data.brain_rdms import BrainRDMs

if TYPE_CHECKING:
    pass


CONFIDENCE = 0.95
LEAST_GROUPS = 8  # of images: fewer have too few orders, and too rough a spread
KEYS = ["area", "signal", "layer"]


@dataclass(frozen=True, eq=False)
class RSAResult:
    """What :func:`rsa` returns.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per area and feature space: ``area``, ``signal``, ``layer``, ``depth``; ``rho``, similarity with the
        subjects' mean RDM, and its 95 % bootstrap interval over images ``low``–``high``; the uncorrected percentile
        interval ``low_percentile``–``high_percentile``; ``rho_subjects``, mean of the similarities with single
        subjects; ``p`` and ``p_fwer``, one-sided, by permutation of images, for one and for all spaces of the area.
    ceilings : dict of str to RDMCeiling
        Per area.
    subjects : dict of str to array, (subjects, spaces)
        Similarity with each subject, per area; spaces in the order of the table.
    replicates, pair_replicates : dict of str to array, (draws, spaces)
        Bootstrap replicates over images and over pairs, per area; differences are computed from these.
    left_out : dict of str to array, (images, spaces)
        Similarities without one image at a time, per area; likewise.
    info : dict
        Settings and provenance: method, distance, n_bootstrap, seed, n_images, source, how p and interval were made …

    Examples
    --------
    >>> import numpy as np
    >>> import brainmap
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((20, 10))
    >>> distances = 1 - np.corrcoef(features + rng.standard_normal((20, 10)))
    >>> np.fill_diagonal(distances, 0)
    >>> result = brainmap.rsa({"block.0": features}, {"IT": distances[None]}, n_bootstrap=100)
    >>> result.to_frame()[["area", "layer"]].values.tolist()
    [['IT', 'block.0']]
    """

    table: pd.DataFrame
    ceilings: Mapping[str, RDMCeiling]
    subjects: Mapping[str, np.ndarray]
    replicates: Mapping[str, np.ndarray]
    pair_replicates: Mapping[str, np.ndarray]
    left_out: Mapping[str, np.ndarray]
    info: Mapping[str, Any]

    def __repr__(self) -> str:
        """Best space of each area in one line each."""
        kind = "simulated " if self.info["simulated"] else ""
        head = f"RSAResult({kind}{self.info['source']}; {self.info['method']}, {self.info['n_images']} images)"
        best = self.best()
        lines = [f"  {b.area}: {b.layer} {b.rho:.3f} [{b.low:.3f}, {b.high:.3f}]" for b in best.itertuples()]
        return "\n".join([head, *lines])

    def to_frame(self) -> pd.DataFrame:
        """The table with the area's ceilings as further columns (see :class:`RDMCeiling`) and ``info`` as attrs."""
        rows = [{"area": area, **ceiling.as_dict()} for area, ceiling in self.ceilings.items()]
        ceilings = pd.DataFrame(rows).add_prefix("ceiling_").rename(columns={"ceiling_area": "area"})
        frame = self.table.merge(ceilings, on="area", how="left")
        frame.attrs.update(self.info)
        return frame

    def best(self) -> pd.DataFrame:
        """The row with the highest ``rho`` of each area and signal. Chosen by looking: its interval is optimistic."""
        rows = self.table.groupby(["area", "signal"], sort=False)["rho"].idxmax()
        return self.table.loc[rows].reset_index(drop=True)

    def difference(self, other: RSAResult) -> pd.DataFrame:
        """Similarity of these spaces minus that of the same-named spaces of another result; see `rsa_difference`."""
        return rsa_difference(self, other)


def rsa(
    features: Any,
    brain: BrainRDMs | Mapping[str, np.ndarray] | np.ndarray,
    *,
    method: str = "spearman",
    distance: Distance = "correlation",
    groups: Any = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> RSAResult:
    """Compare feature spaces with brain areas by their representational dissimilarity matrices.

    Parameters
    ----------
    features : array, or mapping of layer or (signal, layer) to array, (images, features)
        Row-aligned to the images of the brain RDMs; ``Features`` of an extractor, arrays, control spaces.
    brain : BrainRDMs, mapping of area to array, or array
        Brain RDMs, (subjects, images, images) per area.
    method : {'spearman', 'pearson', 'kendall'}
        Similarity of two RDMs: Spearman's ρ, Pearson's r, or Kendall's τ_a (right for models that predict ties, such
        as categories; about 20 times slower).
    distance : {'correlation', 'euclidean'}
        Dissimilarity of two images in a feature space.
    groups : array-like, (images,), optional
        Images that belong together (crops of a photograph, exemplars of a category): intervals then hold for new
        groups, which are drawn, left out and permuted as a whole. At least eight; p needs groups of equal size.
    n_bootstrap : int
        Number of bootstrap samples, and of permutations.
    seed : int
        Seed of both.

    Returns
    -------
    RSAResult

    Raises
    ------
    InputError
        If the features and the RDMs have different numbers of images, or anything is missing or constant.

    Notes
    -----
    RDMs, similarities [1]_ and noise ceilings [2]_ are rsatoolbox's. Brain RDMs are averaged over subjects, as single
    subjects are noisy; similarities with single subjects are kept too, because the usual noise ceiling holds for their
    mean only. Intervals hold for new images, not for new subjects, and are corrected as :func:`corrected_interval`
    says. Images, or ``groups`` of them, are the unit of both resampling schemes: crops of one photograph, or exemplars
    of one category, are not independent images, and intervals over single ones are then too narrow.

    References
    ----------
    .. [1] Kriegeskorte, Mur & Bandettini 2008, *Representational similarity analysis – connecting the branches of
       systems neuroscience*, Front. Syst. Neurosci. 2.
    .. [2] Nili et al. 2014, *A toolbox for representational similarity analysis*, PLoS Comput. Biol. 10.

    Examples
    --------
    >>> import numpy as np
    >>> import brainmap
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((20, 10))
    >>> distances = 1 - np.corrcoef(features + 0.5 * rng.standard_normal((20, 10)))
    >>> np.fill_diagonal(distances, 0)
    >>> result = brainmap.rsa(features, distances[None], n_bootstrap=100)
    >>> bool(result.table["rho"].iloc[0] > 0.5)
    True
    """
    brain = _as_brain(brain)
    spaces = representations(features)
    _check(spaces, brain, method, n_bootstrap)
    models = dissimilarity_stack(spaces, distance)
    for space, model in zip(spaces, models, strict=True):
        if np.ptp(model) == 0:
            raise InputError(f"All images are equally far apart in the features {space.label}; leave this space out.")
    for area in brain.areas:
        if (flat := np.flatnonzero(np.ptp(brain.vectors(area), axis=1) == 0)).size:
            raise InputError(
                f"All images are equally far apart in the RDM of subject {flat[0]} of {area!r}; leave it out."
            )
    codes = _group_codes(groups, brain.n_images)
    info = {"method": method, "distance": distance, "n_bootstrap": n_bootstrap, "seed": seed} | _provenance(brain)
    info |= _group_words(codes)
    more: dict[str, Any] = {"method": method, "draws": n_bootstrap, "seed": seed, "groups": codes}
    parts = [_compare(models, brain.vectors(area), **more) for area in brain.areas]
    labels = pd.DataFrame({name: [getattr(space, name) for space in spaces] for name in ("signal", "layer", "depth")})
    tables = []
    for area, part in zip(brain.areas, parts, strict=True):
        tables.append(pd.concat([labels.assign(area=area)[[*KEYS, "depth"]], pd.DataFrame(part.columns)], axis=1))
    by_area = dict(zip(brain.areas, parts, strict=True))
    return RSAResult(
        pd.concat(tables, ignore_index=True),
        ceilings={area: part.ceiling for area, part in by_area.items()},
        subjects={area: part.subjects for area, part in by_area.items()},
        replicates={area: part.replicates for area, part in by_area.items()},
        pair_replicates={area: part.pair_replicates for area, part in by_area.items()},
        left_out={area: part.left_out for area, part in by_area.items()},
        info=info,
    )


def rsa_difference(first: RSAResult, second: RSAResult) -> pd.DataFrame:
    """Differences between two results on the same brain, such as trained minus untrained.

    Parameters
    ----------
    first, second : RSAResult
        Made with the same brain RDMs, method, number of bootstrap samples and seed: both then hold similarities in the
        *same* samples of images, and the interval of their difference is a paired one.

    Returns
    -------
    pandas.DataFrame
        One row per area, signal and layer that both have: ``rho`` of the first, ``rho_other``, ``delta``, and the 95 %
        interval ``low``–``high`` of ``delta``.

    Raises
    ------
    InputError
        If the two were not made on the same samples, or have no space in common.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import rsa, rsa_difference
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((20, 10))
    >>> distances = 1 - np.corrcoef(features + 0.5 * rng.standard_normal((20, 10)))
    >>> np.fill_diagonal(distances, 0)
    >>> trained, untrained = ({"block.0": values} for values in (features, rng.standard_normal((20, 10))))
    >>> brain = {"IT": distances[None]}
    >>> table = rsa_difference(*(rsa(space, brain, n_bootstrap=100) for space in (trained, untrained)))
    >>> bool(table["low"].iloc[0] > 0)
    True
    """
    for setting in ("brain", "method", "distance", "n_bootstrap", "seed", "groups"):
        a, b = first.info[setting], second.info[setting]
        if a != b:
            raise InputError(f"The two results differ in {setting} ({a} and {b}); run rsa() with the same for both.")
    left, right = (result.table.reset_index(names="position") for result in (first, second))
    both = left.merge(right[[*KEYS, "rho", "position"]], on=KEYS, suffixes=("", "_other"))
    if both.empty:
        raise InputError("The two results have no area and layer in common; give the layers the same names.")
    parts = []
    for name, rows in both.groupby("area", sort=False):
        area = str(name)
        here = rows.position - left.position[left.area == area].min()
        there = rows.position_other - right.position[right.area == area].min()
        delta = (rows.rho - rows.rho_other).to_numpy()
        images = first.replicates[area][:, here] - second.replicates[area][:, there]
        pairs = first.pair_replicates[area][:, here] - second.pair_replicates[area][:, there]
        left_out = first.left_out[area][:, here] - second.left_out[area][:, there]
        low, high = corrected_interval(delta, images, pairs, left_out, CONFIDENCE)
        parts.append(rows[[*KEYS, "depth", "rho", "rho_other"]].assign(delta=delta, low=low, high=high))
    return pd.concat(parts, ignore_index=True)


def _as_brain(brain: BrainRDMs | Mapping[str, np.ndarray] | np.ndarray) -> BrainRDMs:
    if isinstance(brain, BrainRDMs):
        return brain
    return BrainRDMs(brain if isinstance(brain, Mapping) else {"brain": np.asarray(brain)})


def _check(spaces: list[Representation], brain: BrainRDMs, method: str, n_bootstrap: int) -> None:
    if method not in METHODS:
        raise InputError(f"The method {method!r} is unknown; choose one of {', '.join(METHODS)}.")
    if n_bootstrap < 2:
        raise InputError(f"n_bootstrap is {n_bootstrap}; at least 2 samples are needed, 1000 are usual.")
    rows = spaces[0].values.shape[0] if hasattr(spaces[0].values, "shape") else len(spaces[0].values)
    if rows != brain.n_images:
        raise InputError(
            f"The features have {rows} rows, the brain RDMs {brain.n_images} images; extract features for the images "
            "of the RDMs, in their order."
        )


@dataclass(frozen=True, eq=False)
class _Compared:
    """One area's part of a result."""

    columns: dict[str, np.ndarray]
    ceiling: RDMCeiling
    subjects: np.ndarray
    replicates: np.ndarray
    pair_replicates: np.ndarray
    left_out: np.ndarray


def _group_codes(groups: Any, n_images: int) -> np.ndarray | None:
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n_images,):
        raise InputError(f"groups must name the group of each of the {n_images} images; got shape {labels.shape}.")
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < LEAST_GROUPS:
        raise InputError(f"Intervals over groups need at least {LEAST_GROUPS} of them, here are {len(names)}.")
    return codes if len(names) < n_images else None


def _group_words(codes: np.ndarray | None) -> dict[str, Any]:
    if codes is None:
        return {"groups": ""}
    sizes = np.bincount(codes)
    alike = np.bincount(sizes)
    p = f"one-sided permutation of {len(sizes)} groups of images; p_fwer by the maximum over feature spaces of an area"
    return {
        "groups": hashlib.sha256(codes.astype(np.int64).tobytes()).hexdigest()[:16],
        "interval": f"{CONFIDENCE:.0%} bootstrap over {len(sizes)} groups of images, corrected for pair noise",
        "p": p if alike.max() >= LEAST_GROUPS else "none: groups of images of equal size are needed to permute them",
    }


def _compare(
    models: np.ndarray, single: np.ndarray, *, method: str, draws: int, seed: int, groups: np.ndarray | None
) -> _Compared:
    """Compare model RDMs (spaces, pairs) with the RDMs of one area (subjects, pairs)."""
    mean = single.mean(axis=0)
    rho = similarity(models, mean, method)[:, 0]
    more: dict[str, Any] = {"method": method, "groups": groups}
    images = bootstrap_images(models, mean, draws=draws, seed=seed, **more)
    pairs = bootstrap_pairs(models, mean, draws=draws, seed=seed, **more)
    subjects = similarity(models, single, method).T
    left_out = leave_one_out(models, mean, **more)
    low, high = corrected_interval(rho, images, pairs, left_out, CONFIDENCE)
    tail = (1 - CONFIDENCE) / 2
    percentile = np.quantile(images, [tail, 1 - tail], axis=0)
    if groups is not None and np.bincount(np.bincount(groups)).max() < LEAST_GROUPS:
        p = p_fwer = np.full(len(rho), np.nan)
    else:
        p, p_fwer = permutation_p(rho, permuted_images(models, mean, draws=draws, seed=seed, **more))
    columns = {
        "rho": rho,
        "low": np.clip(low, -1, 1),
        "high": np.clip(high, -1, 1),
        "low_percentile": percentile[0],
        "high_percentile": percentile[1],
        "rho_subjects": subjects.mean(axis=0),
        "p": p,
        "p_fwer": p_fwer,
    }
    return _Compared(columns, noise_ceiling(single, method), subjects, images, pairs, left_out)


def _provenance(brain: BrainRDMs) -> dict[str, Any]:
    digest = hashlib.sha256()
    for area in brain.areas:
        digest.update(area.encode() + brain.vectors(area).tobytes())
    return {
        "brain": digest.hexdigest()[:16],
        "source": brain.source,
        "measure": brain.measure,
        "simulated": brain.simulated,
        "n_images": brain.n_images,
        "n_subjects": brain.n_subjects,
        "target": "subjects' mean RDM",
        "interval": f"{CONFIDENCE:.0%} bootstrap over images, corrected for pair noise",
        "p": "one-sided permutation of images; p_fwer by the maximum over feature spaces of an area",
    }
