"""Cross-validated encoding: one call from features and responses to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from brainmap.common.errors import InputError
from brainmap.encoding.any_estimator import encode_generic
from brainmap.encoding.encoding_result import EncodingResult
from brainmap.encoding.prepared_encoding import PreparedEncoding
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import RowDesign


def cross_val_encode(
    X: Any,
    Y: Any,
    *,
    estimator: Any = None,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    rows: RowDesign | None = None,
    memory: str | int = "8GB",
    device: str = "cpu",
    return_estimator: bool = False,
    return_predictions: bool | str | Path = False,
) -> EncodingResult:
    """Predict every target from every layer, out of sample.

    Parameters
    ----------
    X : array-like, shape (n_rows, n_features), or mapping of str to such
        Features, one array or ``{layer: array}``. numpy, memmap, zarr, h5py or dask; read in blocks.
    Y : array-like, shape (n_rows, n_targets)
        Responses, rows aligned to `X`. Likewise read in blocks of targets, each block once for all layers that fit in
        `memory` together.
    estimator : estimator, optional
        Default ``EncodingRidgeCV()``. An `EncodingRidgeCV` runs in the engine; any other scikit-learn or himalaya
        regressor is cloned, fitted and asked to predict, one split and layer at a time (its choice of penalties is then
        its own).
    cv : int, splitter or iterable of (train, test)
        Outer splits: grouped K-folds for an int; a scikit-learn splitter (for example ``LeaveOneGroupOut`` with
        sessions or subjects as `groups`); or fixed splits as index or mask pairs (a shared test set, train on one data
        set and test on another).
    groups : array-like, shape (n_rows,), optional
        Rows that stay together in outer and inner folds: repeats of an image, crops of a photograph.
    rows : RowDesign, optional
        Sample weights, nuisance regressors to project out inside each split, repeats to average. Only for
        `EncodingRidgeCV`.
    memory : str or int
        Bound on what this process holds besides arrays that you already hold, as ``'8GB'`` or bytes.
    device : str
        ``'cpu'``, ``'cuda'`` (through torch), or ``'torch'`` (torch on the CPU).
    return_estimator : bool
        Keep the fitted estimator of each split: ``result.estimators[layer][split]``.
    return_predictions : bool or path
        Keep out-of-fold predictions: ``result.predictions[layer]``; a path streams them to a Zarr directory.

    Returns
    -------
    EncodingResult
        ``r``, ``r2``, ``alpha`` with dimensions (layer, split, target), and provenance.

    Raises
    ------
    InputError
        If rows do not correspond, a value is not finite, splits cannot be made, or the memory bound is too small.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import cross_val_encode
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 8))
    >>> Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((100, 3))
    >>> dict(cross_val_encode({"block.0": X}, Y, groups=np.arange(100) // 2).r.sizes)
    {'layer': 1, 'split': 5, 'target': 3}
    """
    estimator = EncodingRidgeCV() if estimator is None else estimator
    if not isinstance(estimator, EncodingRidgeCV):
        if rows is not None:
            raise InputError("`rows` (weights, nuisance, repeats) is for EncodingRidgeCV; prepare the arrays yourself.")
        return encode_generic(
            X, Y, estimator=estimator, cv=cv, groups=groups, keep=(return_estimator, return_predictions)
        )
    prepared = PreparedEncoding(
        X,
        estimator=estimator,
        cv=cv,
        groups=groups,
        rows=rows,
        memory=memory,
        device=device,
    )
    return prepared.encode(Y, return_estimator=return_estimator, return_predictions=return_predictions)
