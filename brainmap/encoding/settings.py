"""What one analysis asks of the engine, and what it knows about the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.array_sources import Averaging
from brainmap.common.errors import InputError
from brainmap.encoding.folds import SplitPlan

RELATIVE_ALPHAS = tuple(float(alpha) for alpha in np.logspace(-8, 5, 19))  # times the mean eigenvalue
MAX_ALPHAS = 1000
TIE_TOLERANCE, RELATIVE_TIE_TOLERANCE = 5e-7, 1e-5


@dataclass(frozen=True)
class RidgeOptions:
    """Advanced settings of `EncodingRidgeCV`.

    Parameters
    ----------
    mode : {'exact', 'gcv'}
        How alpha is chosen. 'exact': inner cross-validation, as an explicit float64 loop would. 'gcv': generalised
        cross-validation, one decomposition per train set, another criterion (mean squared error).
    inner : {'nested', 'shared'}
        Inner folds of their own, or the other outer folds (cheaper; only with outer folds that partition the rows).
    seed : int
        Seed of the shuffles that make outer and inner folds.
    threads : int, optional
        Worker threads, one BLAS thread each; default: the CPUs this process may use. Problems of a few thousand numbers
        take one, whatever is asked for.
    batch : int, optional
        Targets computed at a time per worker; default: from the memory bound, at most 2,048 (512 beyond 256 features).
        Part of bit-identity.
    precision : {'float32', 'float64'}
        Of products with responses. Decompositions are always float64; layers on which float32 is not safe are promoted.
    rank_tolerance : float
        Components whose eigenvalue is below this fraction of the largest are dropped (treated as the null space).
    tie_tolerance : float, optional
        Among alphas whose mean inner score is within this of the best, the largest is chosen. By default 5e-7 of given
        alphas, and 1e-5 of the default ones, which reach to where none shrinks anything and all score alike.

    Examples
    --------
    >>> from brainmap.encoding import EncodingRidgeCV, RidgeOptions
    >>> EncodingRidgeCV(options=RidgeOptions(mode="gcv", precision="float64")).options.mode
    'gcv'
    """

    mode: Mode = "exact"
    inner: Inner = "nested"
    seed: int = 0
    threads: int | None = None
    batch: int | None = None
    precision: Precision = "float32"
    rank_tolerance: float = 1e-12
    tie_tolerance: float | None = None

    def __post_init__(self) -> None:
        if str(self.mode) == "screen":
            raise InputError("mode 'screen' lost up to .036 of the inner r and is gone; use mode 'exact'.")
        if self.mode not in get_args(Mode):
            raise InputError(f"unknown mode {self.mode!r}; choose one of {', '.join(get_args(Mode))}.")
        if self.inner not in get_args(Inner):
            raise InputError(f"unknown inner folds {self.inner!r}; choose one of {', '.join(get_args(Inner))}.")
        if self.precision not in get_args(Precision):
            raise InputError(f"unknown precision {self.precision!r}; choose 'float32' or 'float64'.")
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be at least 1, got {value}.")


@dataclass(frozen=True)
class RidgeSettings:
    """The model: penalties and what happens to features before the ridge.

    Attributes mirror the parameters of `EncodingRidgeCV`; `relative` says that alphas are multiples of the mean
    eigenvalue of each outer train set's X'X (:func:`brainmap.encoding.layer.factors.alpha_grids`). For two bands,
    `band_sizes` and `shares` are those of `BandedRidgeCV`, `bands` holds one row of factors on the scaled features per
    share, (n_shares, n_features), and `band_scale` the row that a factorisation is for.
    """

    alphas: NDArray[np.float64]
    relative: bool = False
    tie_tolerance: float = TIE_TOLERANCE
    scoring: str = "pearsonr"
    fit_intercept: bool = True
    scale: bool = True
    pca: int | None = None
    options: RidgeOptions = field(default_factory=RidgeOptions)
    band_sizes: tuple[int, ...] = ()
    shares: NDArray[np.float64] | None = None
    bands: NDArray[np.float64] | None = None
    band_scale: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RowDesign:
    """What is known about each row besides features, responses and groups.

    Parameters
    ----------
    weight : array-like, shape (n_rows,), optional
        Sample weights of the ridge fit, as in scikit-learn's ``Ridge.fit``; scaling, PCA and scores stay unweighted.
    nuisance : array-like, shape (n_rows, n_regressors), optional
        Regressors (drift, motion, eye movements, session) projected out of features and responses inside each split:
        fitted with an intercept on the outer train set, applied to its test set.
    repeats : array-like, shape (n_rows,), optional
        Rows with the same label (repeats of an image) are averaged before anything else; averaged rows come in the
        order in which labels first appear, and splits, weights and nuisance regressors then refer to those. Features
        and groups may have one row per trial (averaged too; the first trial's group counts) or one per averaged row.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import RowDesign, cross_val_encode
    >>> rng = np.random.default_rng(0)
    >>> drift = np.linspace(-1, 1, 60)[:, None]
    >>> X = rng.standard_normal((60, 5)) + drift
    >>> Y = rng.standard_normal((60, 2)) + 3 * drift
    >>> with_drift = cross_val_encode(X, Y, cv=3).r.mean()
    >>> without = cross_val_encode(X, Y, cv=3, rows=RowDesign(nuisance=drift)).r.mean()
    >>> bool(with_drift > 0.5), bool(without < 0.3)
    (True, True)
    """

    weight: ArrayLike | None = None
    nuisance: ArrayLike | None = None
    repeats: ArrayLike | None = None

    def averaging(self) -> Averaging | None:
        """Return how rows are averaged, if they are."""
        return None if self.repeats is None else Averaging.by_label(self.repeats)

    def checked(self, n_rows: int) -> CheckedRows:
        """Check shapes and values; nuisance columns are z-scored, which changes nothing but their conditioning.

        Raises
        ------
        InputError
            If lengths differ from the number of rows, or weights are negative, all zero or not finite.
        """
        w = None if self.weight is None else np.asarray(self.weight, dtype=np.float64)
        if w is not None and (w.shape != (n_rows,) or not np.all(np.isfinite(w)) or w.min() < 0 or w.max() == 0):
            raise InputError(f"sample weights must be {n_rows} finite numbers, none negative and not all zero.")
        if self.nuisance is None:
            return CheckedRows(w, None)
        columns = np.asarray(self.nuisance, dtype=np.float64)
        columns = columns[:, None] if columns.ndim == 1 else columns
        if columns.ndim != 2 or len(columns) != n_rows or not np.all(np.isfinite(columns)):
            raise InputError(f"nuisance regressors must be finite with {n_rows} rows, got shape {columns.shape}.")
        centred = columns - columns.mean(axis=0)
        spread = np.sqrt((centred**2).mean(axis=0))
        kept = spread > 1e-12 * np.abs(columns).max(axis=0, initial=0.0)
        return CheckedRows(w, centred[:, kept] / spread[kept] if kept.any() else None)


@dataclass(frozen=True)
class CheckedRows:
    """Weights, (n_rows,), and nuisance regressors, (n_rows, n_regressors), ready for the engine."""

    weight: NDArray[np.float64] | None = None
    nuisance: NDArray[np.float64] | None = None

    def ordered(self, order: NDArray[np.int64]) -> CheckedRows:
        """Return both with rows in another order."""
        weight = None if self.weight is None else self.weight[order]
        return CheckedRows(weight, None if self.nuisance is None else self.nuisance[order])


@dataclass(frozen=True)
class Backend:
    """Where arrays live and how precise they are: the few operations that numpy and torch write differently.

    torch is imported only when a device other than the plain CPU is asked for (``'torch'`` runs it on the CPU, for
    tests).
    """

    device: str = "cpu"
    precision: str = "float32"
    uses_torch: bool = False

    def put(self, array: NDArray[Any], precision: str | None = None) -> Any:
        """Move an array to the device, contiguous and in the working precision (integers stay integers)."""
        array = np.asarray(array)
        dtype = array.dtype if array.dtype.kind in "iub" else np.dtype(precision or self.precision)
        array = np.ascontiguousarray(array, dtype=dtype)
        if not self.uses_torch:
            return array
        import torch

        return torch.from_numpy(array).to("cpu" if self.device == "torch" else self.device)

    def get(self, array: Any) -> NDArray[Any]:
        """Bring an array back as numpy."""
        return array.cpu().numpy() if self.uses_torch else np.asarray(array)

    def cross_products(self, features: Any, values: Any, slices: Sequence[slice]) -> Any:
        """Return products of torch tensors over some sets of rows, (n_sets, size, n_targets)."""
        import torch

        return torch.stack([features[rows].T @ values[rows] for rows in slices])


def make_backend(device: str, precision: str) -> Backend:
    """Return the backend of a device that needs torch.

    Raises
    ------
    InputError
        If torch or the device is missing.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError(f"device {device!r} needs torch, which is not installed; use device='cpu'.") from error
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise InputError(f"device {device!r} was asked for but torch sees no CUDA device; use device='cpu'.")
    elif device != "torch":
        raise InputError(f"unknown device {device!r}; use 'cpu', 'cuda', 'cuda:1' … or 'torch' (torch on the CPU).")
    return Backend(device, precision, uses_torch=True)


@dataclass(frozen=True)
class Problem:
    """Splits, model and rows of one analysis: everything the engine needs but features and responses.

    Attributes
    ----------
    plan : SplitPlan
    settings : RidgeSettings
    design : CheckedRows
        Rows in the order of the plan's atoms.
    backend : Backend
    threads : int
        For batches of responses.
    factor_threads : int
        For train sets: one where there are so few rows that starting another takes longer than it saves.
    n_nuisance : int
        Regressors projected out inside each split.
    plain : bool
        Whether features enter as they are but for centring: train sets of equal rows are then the same in every outer
        split.
    """

    plan: SplitPlan
    settings: RidgeSettings
    design: CheckedRows
    backend: Backend
    threads: int
    factor_threads: int
    n_nuisance: int
    plain: bool


def parse_alphas(alphas: Any) -> tuple[float, ...]:
    """Return penalties from numbers, or from text: ``1e-2:1e8:15`` (15, log-spaced) or ``1,10,100``.

    Raises
    ------
    InputError
        If there is none, one is not a positive finite number, or a range does not ascend.
    """
    how = "write low:high:count, as 1e-2:1e8:15, or numbers with commas"
    parts = alphas
    if isinstance(alphas, str):
        parts = alphas.split(":") if ":" in alphas else alphas.split(",")
    try:
        parts = [parts] if np.isscalar(parts) else list(parts)
        if any(isinstance(part, bool) for part in parts):
            raise TypeError
        values = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise InputError(f"alphas {alphas!r} are not numbers; {how}.") from None
    if isinstance(alphas, str) and ":" in alphas:
        if len(values) != 3 or values[2] not in range(2, MAX_ALPHAS + 1):
            raise InputError(f"alphas {alphas!r} are not a range with a count from 2 to {MAX_ALPHAS}; {how}.")
        if not 0 < values[0] < values[1] < np.inf:
            raise InputError(f"alphas {alphas!r} do not run from a positive number up to a larger one; {how}.")
        return tuple(float(value) for value in np.geomspace(values[0], values[1], int(values[2])))
    if not values or not all(0 < value < np.inf for value in values) or len(set(values)) < len(values):
        raise InputError(f"alphas {alphas!r} must be positive finite numbers, each once; {how}.")
    return tuple(sorted(values))


Mode = Literal["exact", "gcv"]
Inner = Literal["nested", "shared"]
Precision = Literal["float32", "float64"]
Scoring = Literal["pearsonr", "r2"]
