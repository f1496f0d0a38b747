"""The few array operations of the hot path, in numpy or in torch.

The solver's inner loop is written once. Everything it needs beyond operators is here; torch is
imported only when a device other than the plain CPU is asked for (``'torch'`` runs it on the CPU, for tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.errors import InputError


@dataclass(frozen=True)
class Backend:
    """Where arrays live and in which precision they are multiplied."""

    device: str = "cpu"
    precision: str = "float32"

    @property
    def uses_torch(self) -> bool:
        """Whether arrays are torch tensors."""
        return self.device != "cpu"

    @property
    def itemsize(self) -> int:
        """Bytes per number."""
        return np.dtype(self.precision).itemsize

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

    def stack(self, arrays: list[Any]) -> Any:
        """Stack along a new first axis."""
        if not self.uses_torch:
            return np.stack(arrays)
        import torch

        return torch.stack(arrays)


def make_backend(device: str, precision: str) -> Backend:
    """Check the device and return its backend.

    Raises
    ------
    InputError
        If torch or the device is missing.
    """
    if device == "cpu":
        return Backend("cpu", precision)
    try:
        import torch
    except ImportError as error:
        raise InputError(f"device {device!r} needs torch, which is not installed; use device='cpu'.") from error
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise InputError(f"device {device!r} was asked for but torch sees no CUDA device; use device='cpu'.")
    elif device != "torch":
        raise InputError(f"unknown device {device!r}; use 'cpu', 'cuda', 'cuda:1' … or 'torch' (torch on the CPU).")
    return Backend(device, precision)
