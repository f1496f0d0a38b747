"""A baseline and what is added to it, as the ridge engine factorises them: bands are views of its train sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.engine import make_problem, make_settings
from brainmap.encoding.folds import SplitPlan
from brainmap.encoding.layer.factors import alpha_grids, placing
from brainmap.encoding.layer.notation import LayerFactors, Train, TrainSet
from brainmap.encoding.layer.rows import PreparedRows, factorise_rows
from brainmap.encoding.layer.z_scores import FeatureMoments
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import CheckedRows, Problem

Array = NDArray[np.floating]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Band:
    """Whitened principal components of one set of features, fitted on train rows, and a ridge on them.

    Parameters
    ----------
    left : ndarray, (n_train, k)
        Train rows: orthonormal columns.
    values : ndarray, (k,)
        Eigenvalues of the train rows' Gram matrix.
    test : ndarray, (n_test, k)
        Test rows about the train rows' mean.
    """

    left: NDArray[np.float32]
    values: NDArray[np.float32]
    test: NDArray[np.float32]

    @classmethod
    def of(cls, train: Train) -> Band:
        """View a train set of the engine (form 'rows') that predicts one set of rows."""
        (held,) = train.validations
        return cls(train.map.T, train.values, held.map.T + held.gap)

    def weights(self, y: Array) -> NDArray[np.float32]:
        """Projections of the centred train responses, (k, n_targets)."""
        return np.asarray(self.left.T @ y, dtype=np.float32)

    def predict(self, weights: Array, alpha: Array) -> NDArray[np.float32]:
        """Test predictions for one penalty per target (or one for all); an infinite penalty predicts zero."""
        return np.asarray(self.test @ self.shrunk(weights, alpha), dtype=np.float32)

    def fitted(self, weights: Array, alpha: Array) -> NDArray[np.float32]:
        """Fitted values of the (centred) train responses."""
        return np.asarray(self.left @ self.shrunk(weights, alpha), dtype=np.float32)

    def shrunk(self, weights: Array, alpha: Array) -> Array:
        """What a penalty leaves of weights, λ / (λ + alpha) of each component, (k, n_targets)."""
        values = self.values[:, None]
        shrunk: Array = values / (values + np.asarray(alpha, dtype=np.float32)) * weights
        return shrunk

    def absorbed(self, alpha: float) -> Array:
        """Share λ / (λ + alpha) of each component that the fit takes from the train responses, (k,)."""
        return self.values / (self.values + alpha)


@dataclass(frozen=True, eq=False)
class TwoBands:
    """Bands of one split.

    Parameters
    ----------
    train, test : ndarray of int
        Rows among those sorted by atom.
    base : Band
        The baseline.
    added : Band
        ``additive``: what the added features hold beyond the baseline, to be added to its prediction. Otherwise the
        whole competing model.
    additive : bool
        Which of the two.
    """

    train: Rows
    test: Rows
    base: Band
    added: Band
    additive: bool


def factorise_bands(
    x: Array, g: Array, problem: Problem, *, limits: tuple[float, int, int], matched: int | None = None
) -> tuple[LayerFactors, list[list[TwoBands]]]:
    """Factorise baseline and added features for every split of a plan, scaled and reduced on the outer train sets.

    Parameters
    ----------
    x, g : ndarray, (n, d)
        Baseline and added features.
    problem : Problem
        Splits, penalties and confounds.
    limits : tuple of (float, int, int)
        Share of the baseline's variance to keep, its largest number of components, that of the added features.
    matched : int, optional
        Build the matched-dimension comparison with so many components of each kind instead.

    Returns
    -------
    LayerFactors
        The baseline, to choose its penalties.
    list of list of TwoBands
        For each outer split, its inner splits' bands and then its own.
    """
    plan, bands = problem.plan, []
    inner: list[Train] = []
    outer: list[Train] = []
    x, g = x[plan.order], g[plan.order]
    alphas = alpha_grids(problem, FeatureMoments.of(x, plan.sorted_atoms, plan.n_atoms))
    for split, (train, _) in enumerate(plan.outer):
        rows = plan.rows(plan.members(train))
        prepared = _nested(x, g, rows, problem, limits) if matched is None else _side(x, g, rows, problem, matched)
        pairs = []
        for pair in (*plan.inner[split], plan.outer[split]):
            members = [plan.members(part) for part in pair]
            inside, held = map(plan.rows, members)
            base, added = prepared
            if matched is None:
                added = added.beyond(base, inside, problem)
            last = pair is plan.outer[split]
            train_set = TrainSet(split, members[0], ((split, members[1]),), last, None)
            fits = []
            for band, final in ((base, last), (added, True)):  # predictions of the added band are formed
                fits.append(
                    factorise_rows(replace(train_set, final=final), band, alphas, problem, placing(problem.backend))
                )
            (outer if last else inner).append(fits[0])
            pairs.append(TwoBands(inside, held, Band.of(fits[0]), Band.of(fits[1]), matched is None))
        bands.append(pairs)
    info = {"alphas": alphas}
    return LayerFactors("baseline", "rows", tuple(inner), tuple(outer), problem.backend, info=info), bands


def _nested(
    x: Array, g: Array, train: Rows, problem: Problem, limits: tuple[float, int, int]
) -> tuple[PreparedRows, PreparedRows]:
    """Components of the baseline, and those of what the added features hold beyond them."""
    explained, most, most_added = limits
    base = PreparedRows.scaled(x, train, problem).components(train, most)
    shares = np.cumsum(np.square(base.features[train]).sum(axis=0)) / (len(train) * base.n_varying)
    keep = int(np.searchsorted(shares, explained)) + 1
    base = replace(base, features=base.features[:, :keep], back=base.back[:keep])
    rest = PreparedRows.scaled(g, train, problem).beyond(base, train, problem)
    return base, rest.components(train, most_added)


def _side(x: Array, g: Array, train: Rows, problem: Problem, matched: int) -> tuple[PreparedRows, PreparedRows]:
    """Components of the baseline, and half as many of it beside as many of the added features."""
    base = PreparedRows.scaled(x, train, problem).components(train, 2 * matched)
    other = PreparedRows.scaled(g, train, problem).components(train, matched)
    return base, replace(other, features=np.hstack([base.features[:, :matched], other.features]))


def principal_band(x: Array, split: tuple[Rows, Rows], factors: NDArray[np.float64] | None = None) -> Band:
    """Standardise features on the train rows of a split and decompose them, all components kept.

    Parameters
    ----------
    x : ndarray, (n, d)
        Features.
    split : (ndarray, ndarray)
        Train and test rows.
    factors : ndarray, (d,), optional
        What standardised features are multiplied by: bands with a penalty of their own.
    """
    rows = np.concatenate(split)
    atoms = np.repeat([0, 1], [len(part) for part in split])
    plan = SplitPlan(((np.flatnonzero(atoms == 0), np.flatnonzero(atoms == 1)),), ((),), atoms, "", "", grouped=False)
    settings = replace(make_settings(EncodingRidgeCV(1.0)), band_scale=factors)
    problem = make_problem(plan, settings, CheckedRows())
    train_set = TrainSet(0, np.array([True, False]), ((0, np.array([False, True])),), True, None)
    prepared = PreparedRows.of(x[rows], plan.outer[0][0], problem)
    return Band.of(factorise_rows(train_set, prepared, np.ones((1, 1)), problem, placing(problem.backend)))
