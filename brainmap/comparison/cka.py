"""Centred kernel alignment: similarity of two representations whatever their rotation and scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.comparison.representations import read_values, representations


def cka(first: np.ndarray, second: np.ndarray, *, debiased: bool = False) -> float:
    """Linear CKA of two representations of the same images.

    Parameters
    ----------
    first, second : array, (images, features)
        Row-aligned; the numbers of features may differ.
    debiased : bool
        Use the unbiased estimator of HSIC [2]_: expected to be 0 for unrelated representations, while the plain one
        grows towards 1 with the number of features per image. Can be negative.

    Returns
    -------
    float
        At most 1; 1 if one is a rotated, scaled and shifted copy of the other.

    Raises
    ------
    InputError
        If the numbers of images differ, there are fewer than 4, or a representation is constant.

    References
    ----------
    .. [1] Kornblith et al. 2019, *Similarity of neural network representations revisited*, ICML.
    .. [2] Song et al. 2012, *Feature selection via dependence maximization*, JMLR 13 (equation 5); used for CKA by
       Nguyen, Raghu & Kornblith 2021, *Do wide and deep networks learn the same things?*, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import cka
    >>> rng = np.random.default_rng(0)
    >>> first = rng.standard_normal((50, 8))
    >>> round(cka(first, 3 * first[:, ::-1]), 6), cka(first, rng.standard_normal((50, 8)), debiased=True) < 0.2
    (1.0, True)
    """
    frame = cka_matrix({"first": first}, {"second": second}, debiased=debiased)
    return float(frame.to_numpy()[0, 0])


def cka_matrix(features: Any, others: Any = None, *, debiased: bool = False) -> pd.DataFrame:
    """Linear CKA of every feature space with every other one.

    Parameters
    ----------
    features : array, or mapping of layer or (signal, layer) to array, (images, features)
        Rows of the result.
    others : like features, optional
        Columns of the result, such as another model or brain responses to the same images; by default ``features``.
    debiased : bool
        As in :func:`cka`.

    Returns
    -------
    pandas.DataFrame
        Index and columns are (signal, layer). Needs memory for one images × images matrix per feature space.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import cka_matrix
    >>> rng = np.random.default_rng(0)
    >>> layers = {f"block.{i}": rng.standard_normal((30, 6)) for i in range(3)}
    >>> cka_matrix(layers).shape
    (3, 3)
    """
    rows = representations(features)
    grams_a = [_gram(read_values(space), space.label, debiased) for space in rows]
    columns = rows if others is None else representations(others)
    grams_b = grams_a if others is None else [_gram(read_values(space), space.label, debiased) for space in columns]
    if len(grams_a[0]) != len(grams_b[0]):
        raise InputError(f"One side has {len(grams_a[0])} images, the other {len(grams_b[0])}; give the same images.")
    product = _hsic_unbiased if debiased else _hsic
    norm_a, norm_b = (
        np.array([_norm(gram, space.label, product) for gram, space in zip(grams, spaces, strict=True)])
        for grams, spaces in ((grams_a, rows), (grams_b, columns))
    )
    values = np.array([[product(a, b) for b in grams_b] for a in grams_a]) / np.outer(norm_a, norm_b)
    names = ["signal", "layer"]
    return pd.DataFrame(
        values,
        index=pd.MultiIndex.from_tuples([(s.signal, s.layer) for s in rows], names=names),
        columns=pd.MultiIndex.from_tuples([(s.signal, s.layer) for s in columns], names=names),
    )


def _gram(values: np.ndarray, label: str, debiased: bool) -> np.ndarray:
    """Inner products of all pairs of images after centring; without the diagonal for the unbiased estimator."""
    if len(values) < 4:
        raise InputError(f"The features {label} have {len(values)} images; CKA needs at least 4.")
    centred = values - values.mean(axis=0)
    scale = np.abs(centred).max()
    if scale <= 1e-12 * np.abs(values).max():
        raise InputError(f"The features {label} are the same for all images; leave this space out.")
    centred /= scale  # CKA ignores scale; gradients of 1e-9 would underflow when squared twice
    gram = centred @ centred.T
    if debiased:
        np.fill_diagonal(gram, 0.0)
    return gram


def _norm(gram: np.ndarray, label: str, product: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """Square root of HSIC of a representation with itself; the unbiased one is 0 where all images are equally alike."""
    squared = product(gram, gram)
    if squared <= 1e-12 * np.vdot(gram, gram):
        raise InputError(f"All images are equally alike in the features {label}; debiased CKA is undefined.")
    return float(np.sqrt(squared))


def _hsic(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.vdot(first, second))


def _hsic_unbiased(first: np.ndarray, second: np.ndarray) -> float:
    """Estimate HSIC from Gram matrices with zero diagonals, without the factor 1 / (n (n − 3)) that cancels in CKA."""
    n = len(first)
    rows_a, rows_b = first.sum(axis=0), second.sum(axis=0)
    whole = rows_a.sum() * rows_b.sum() / ((n - 1) * (n - 2))
    return float(np.vdot(first, second) + whole - 2 / (n - 2) * (rows_a @ rows_b))
