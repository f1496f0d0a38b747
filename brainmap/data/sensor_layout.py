"""MEG sensors: names, positions in space and on the flat layout of the CTF-275 system, from MNE's data files."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.files import package_file

# Broken or switched off in all recordings of THINGS-MEG (OpenNeuro ds004212), which therefore has 272 of the 275.
ABSENT_IN_THINGS_MEG = ("MLF25", "MRF43", "MRO13")


@functools.cache
def load_sensors(system: str = "ctf-272") -> pd.DataFrame:
    """Sensors of the CTF-275 system.

    Parameters
    ----------
    system : {'ctf-272', 'ctf-275'}
        All 275 axial gradiometers, or the 272 of THINGS-MEG.

    Returns
    -------
    pandas.DataFrame
        In the order of MNE's layout: ``sensor`` (name without the dewar's serial number), ``x``, ``y``, ``z`` (m, head
        coordinates: x to the right ear, y to the nose, z up), ``nx``, ``ny``, ``nz`` (unit vector out of the head, the
        coil's axis), ``u``, ``v`` (position on the flat layout, scaled to the unit disc, nose up).

    Notes
    -----
    MNE's canonical positions lack MLO42; it is placed as the mirror image of MRO42.
    """
    if system not in ("ctf-272", "ctf-275"):
        raise InputError(f"There is no sensor system {system!r}; choose 'ctf-272' or 'ctf-275'.")
    space = pd.read_csv(package_file("mne", "channels", "data", "canonical_meg", "ctf275.csv"))
    space["sensor"] = space["name"].str.split("-").str[0]
    space = space.rename(columns={"ez_x": "nx", "ez_y": "ny", "ez_z": "nz"})
    columns = ["sensor", "x", "y", "z", "nx", "ny", "nz"]
    twin = space.loc[space["sensor"] == "MRO42", columns].assign(sensor="MLO42")
    twin[["x", "nx"]] *= -1
    space = pd.concat([space[columns], twin]).drop_duplicates("sensor")
    table = _read_layout().merge(space, on="sensor", validate="one_to_one")
    if system == "ctf-272":
        table = table[~table["sensor"].isin(ABSENT_IN_THINGS_MEG)]
    return table[[*columns, "u", "v"]].reset_index(drop=True)


def _read_layout() -> pd.DataFrame:
    """Centres of the boxes in MNE's ``CTF-275.lout``, scaled to the unit disc."""
    file = package_file("mne", "channels", "data", "layouts", "CTF-275.lout")
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    corner = np.array([row[1:3] for row in rows], dtype=np.float64)
    size = np.array([row[3:5] for row in rows], dtype=np.float64)
    centre = corner + size / 2
    centre -= (centre.max(axis=0) + centre.min(axis=0)) / 2
    centre /= np.linalg.norm(centre, axis=1).max()
    names = [row[5].split("-")[0] for row in rows]
    return pd.DataFrame({"sensor": names, "u": centre[:, 0], "v": centre[:, 1]})
