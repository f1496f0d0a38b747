"""Whether gradients say more of a response than random nonlinear features of the activations do.

The residual test takes the influence of activations for linear. Where it is not, whatever is nonlinear in them and
correlates with a response passes it, gradients too. So the same test is made with as many random nonlinear features of
the activations in place of the gradients, and with the gradients once these features belong to the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.common.random_purposes import NONLINEAR_FEATURES
from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
from brainmap.statistics.checked_arrays import feature_arrays

FloatArray = NDArray[np.float64]
MOST = 0.25  # of the number of images: a baseline of more features leaves too little
VARIANCE = 0.9  # of the activations, in the components that are made nonlinear


def nonlinear_features(
    activations: ArrayLike | Mapping[Any, ArrayLike], n_features: int, *, seed: int = 0
) -> FloatArray:
    """Squares of random directions in the leading components of the activations.

    Parameters
    ----------
    activations : array-like (n_images, d) or mapping of layer to array-like
        Activations; columns are standardised.
    n_features : int
        How many.
    seed : int
        Seed.

    Returns
    -------
    ndarray, (n_images, n_features)
        Directions follow the variance of the components that hold 90 % of it.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics.added.nonlinear_control import nonlinear_features
    >>> nonlinear_features(np.random.default_rng(0).standard_normal((40, 6)), 10).shape
    (40, 10)
    """
    x = np.concatenate(list(feature_arrays(activations, "activation").values()), axis=1)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    kept = int(np.searchsorted(np.cumsum(size**2), VARIANCE * np.sum(size**2))) + 1
    rng = np.random.default_rng([seed, NONLINEAR_FEATURES])
    directions = rng.standard_normal((kept, n_features)) * size[:kept, None]
    return np.asarray((left[:, :kept] @ (directions / np.linalg.norm(directions, axis=0)) * np.sqrt(len(x))) ** 2)


def nonlinear_control(
    activations: ArrayLike | Mapping[Any, ArrayLike],
    gradients: ArrayLike | Mapping[Any, ArrayLike],
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
    options: ConditionalOptions | None = None,
) -> pd.DataFrame:
    """Make the residual test of gradients beside that of random nonlinear features of the activations.

    Parameters
    ----------
    activations, gradients, responses, units, groups, confounds, options
        As in :func:`~brainmap.statistics.conditional_test`; the seed of the options also draws the features, as many as
        there are of the gradients and at most a quarter of the images.

    Returns
    -------
    pandas.DataFrame
        One row per unit: ``unit``; p over all units (family-wise) ``gradients`` beyond activations, ``nonlinear``:
        random nonlinear features beyond activations, ``gradients_beyond``: gradients beyond both; and ``passed``:
        'nothing', 'linear baseline only' (as nonlinear features might, too) or 'linear and nonlinear baseline'.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, nonlinear_control
    >>> rng = np.random.default_rng(0)
    >>> activations, gradients = rng.standard_normal((80, 5)), rng.standard_normal((80, 5))
    >>> responses = gradients @ rng.standard_normal((5, 3)) + rng.standard_normal((80, 3))
    >>> options = ConditionalOptions(n_flips=200)
    >>> nonlinear_control(activations, gradients, responses, units=["IT"] * 3, options=options)["passed"].item()
    'linear and nonlinear baseline'
    """
    settings = options or ConditionalOptions()
    base = {str(name): values for name, values in feature_arrays(activations, "activation").items()}
    width = sum(part.shape[1] for part in feature_arrays(gradients, "gradient").values())
    n_images = len(next(iter(base.values())))
    features = nonlinear_features(base, max(1, min(width, int(MOST * n_images))), seed=settings.seed)
    both = {**base, "nonlinear features": features}
    more: dict[str, Any] = {"units": units, "groups": groups, "confounds": confounds, "options": settings}
    tests = {
        "gradients": conditional_test(base, gradients, responses, **more).table,
        "nonlinear": conditional_test(base, features, responses, **more).table,
        "gradients_beyond": conditional_test(both, gradients, responses, **more).table,
    }
    table = pd.DataFrame({"unit": tests["gradients"]["unit"], **{name: t["p_fwer"] for name, t in tests.items()}})
    linear, beyond = (table[name] <= settings.alpha for name in ("gradients", "gradients_beyond"))
    passed = np.where(
        linear & beyond, "linear and nonlinear baseline", np.where(linear, "linear baseline only", "nothing")
    )
    table["passed"] = passed
    table.attrs["n_nonlinear"] = features.shape[1]
    return table
