"""What this machine has and lacks, said before anything runs."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brainmap.common.errors import BrainmapError

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "zarr", "xarray", "mne", "nilearn", "himalaya")


@dataclass(frozen=True)
class MachineCheck:
    """One thing looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether brainmap can work with what was found.
    found : str
        Version, count or the sentence that says what to do.

    Examples
    --------
    >>> from brainmap.study import MachineCheck
    >>> MachineCheck("disk", True, "120 GB free").ok
    True
    """

    name: str
    ok: bool
    found: str


def examine() -> list[MachineCheck]:
    """Look at Python, packages, devices, disk and the embedded sample.

    Returns
    -------
    list of MachineCheck
        In a fixed order; nothing is installed or changed.

    Examples
    --------
    >>> from brainmap.study import examine
    >>> all(check.ok for check in examine() if check.name == "Python")
    True
    """
    return [
        MachineCheck("Python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or later is needed)"),
        *(_package(name) for name in PACKAGES),
        _torchvision(),
        MachineCheck("devices", True, ", ".join(_devices())),
        MachineCheck("free disk here", True, f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB"),
        _try("embedded photographs", _photographs),
        _try("embedded weights of dino-tiny", _weights),
        _try("cortical mesh and areas", _cortex),
    ]


def _package(name: str) -> MachineCheck:
    try:
        return MachineCheck(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return MachineCheck(name, False, f"not installed: pip install {name}")


def _torchvision() -> MachineCheck:
    """A torchvision built for another torch breaks transformers at import; brainmap does without it."""
    if importlib.util.find_spec("torchvision") is None:
        return MachineCheck("torchvision", True, "absent, as it should be (brainmap does not use it)")
    try:
        import torchvision

        return MachineCheck("torchvision", True, f"{torchvision.__version__}, importable (brainmap does not use it)")
    except Exception as error:  # a broken binary raises anything from OSError to RuntimeError
        return MachineCheck("torchvision", False, f"breaks transformers ({error}): pip uninstall torchvision")


def _devices() -> list[str]:
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.cuda.is_available():
        devices.append(f"cuda ({torch.cuda.get_device_name()})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _try(name: str, look: Callable[[], str]) -> MachineCheck:
    try:
        return MachineCheck(name, True, look())
    except BrainmapError as error:
        return MachineCheck(name, False, str(error))


def _photographs() -> str:
    from brainmap.data import sample_stimuli

    stimuli = sample_stimuli()
    return f"{len(stimuli)} crops of {stimuli.table['source'].nunique()} photographs"


def _weights() -> str:
    from brainmap.models import load_model

    model = load_model("dino-tiny")
    return f"{model.weights}, digest {model.digest[:12]}"


def _cortex() -> str:
    from brainmap.data.atlas import cortical_targets

    targets = cortical_targets()
    return f"{len(targets):,} vertices in {targets['roi'].nunique()} areas"
