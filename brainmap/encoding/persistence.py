"""Fitted encoders on disk: arrays and JSON in a Zarr directory, never pickle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from brainmap.encoding.options import RidgeOptions
from brainmap.errors import InputError

if TYPE_CHECKING:
    from brainmap.encoding.ridge import EncodingRidgeCV

    Encoder = TypeVar("Encoder", bound=EncodingRidgeCV)

KIND = "brainmap fitted encoder"
FORMAT = 1


def save_encoder(estimator: EncodingRidgeCV, path: str | Path) -> Path:
    """Write a fitted `EncodingRidgeCV` to a Zarr directory and return its path.

    Raises
    ------
    InputError
        If the estimator is not fitted. Its `cv` is stored only when it is an int: folds do not matter to prediction.
    """
    import zarr

    if not hasattr(estimator, "coef_"):
        raise InputError("this encoder is not fitted; call `fit` before `save`.")
    params = estimator.get_params(deep=False)
    options = params.pop("options")
    params["alphas"] = np.asarray(params["alphas"], dtype=float).ravel().tolist()
    if "shares" in params:
        params["shares"] = np.atleast_1d(params["shares"]).tolist()
        params["bands"] = [int(size) for size in params["bands"]]
    params["cv"] = int(params["cv"]) if isinstance(params["cv"], int | np.integer) else 5
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    group.attrs.update(
        {
            "kind": KIND,
            "format": FORMAT,
            "class": type(estimator).__name__,
            "params": params,
            "options": None if options is None else asdict(options),
            "n_features_in": int(estimator.n_features_in_),
            "n_components": int(estimator.n_components_),
        }
    )
    for name in estimator.fitted:
        group.create_array(name, data=np.atleast_1d(np.asarray(getattr(estimator, name))))
    group.attrs["single_target"] = np.ndim(estimator.alpha_) == 0
    return Path(path)


def load_encoder(path: str | Path, cls: type[Encoder]) -> Encoder:
    """Read an encoder that `save_encoder` wrote.

    Raises
    ------
    InputError
        If there is no encoder of this class and format at `path`.
    """
    import zarr

    if not Path(path).is_dir():
        raise InputError(f"no encoder at {path}; give the directory that `save` wrote.")
    group = zarr.open_group(str(path), mode="r")
    attrs: dict[str, Any] = dict(group.attrs)
    if attrs.get("kind") != KIND or attrs.get("format") != FORMAT or attrs.get("class") != cls.__name__:
        raise InputError(
            f"{path} holds {attrs.get('kind', 'something else')}, not a fitted {cls.__name__} this version reads."
        )
    options = attrs["options"]
    estimator = cls(**attrs["params"], options=None if options is None else RidgeOptions(**options))
    single = bool(attrs["single_target"])
    for name in estimator.fitted:
        values = np.asarray(group[name])
        setattr(estimator, name, values[0] if single and name != "coef_" else values)
    estimator.n_features_in_ = int(attrs["n_features_in"])
    estimator.n_components_ = int(attrs["n_components"])
    return estimator
