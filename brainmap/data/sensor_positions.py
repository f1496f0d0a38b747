"""What sensors measure and where they are: by their kind, their names, or a montage or layout of MNE."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES, Modality, as_names
from brainmap.common.readable import shortened
from brainmap.common.tables import table_name

CHANNEL_TYPES: dict[str, Modality] = {
    "mag": "meg", "grad": "meg", "eeg": "eeg", "seeg": "ieeg", "ecog": "ieeg", "dbs": "ieeg",
    "hbo": "fnirs", "hbr": "fnirs", "fnirs_cw_amplitude": "fnirs", "fnirs_od": "fnirs",
}  # fmt: skip
"""Type of a channel in MNE → what it measures."""
_OTHER_WORDS: dict[str, Modality] = {
    "meg": "meg", "megmag": "meg", "meggrad": "meg", "meggradaxial": "meg", "meggradplanar": "meg",
    "magnetometer": "meg", "gradiometer": "meg", "ieeg": "ieeg", "fnirs": "fnirs",
}  # fmt: skip
_CTF = re.compile(r"M[LRZ][CFOPT]\d{2}(-\d+)?")
_NEUROMAG = re.compile(r"MEG ?(\d{3})([123])")
_TEN_FIVE = ("spherical_1005", "standard_1005")  # names that mean one place, however many of them there are
_NETS = (  # names that count (E1, A1 …) mean a place only within their net: most of it must be there
    *("GSN-HydroCel-32", "GSN-HydroCel-64_1.0", "GSN-HydroCel-65_1.0", "GSN-HydroCel-128", "GSN-HydroCel-129"),
    *("GSN-HydroCel-256", "GSN-HydroCel-257", "biosemi128", "biosemi160", "biosemi256"),
)
_MEG_LAYOUTS = ("CTF151", "KIT-157", "magnesWH3600")
_MOST = 0.75  # of a net
_FOR_SPHERE = 12  # sensors that a sphere is fitted to


def measured(targets: pd.DataFrame, of_file: Modality | None, wanted: str | None) -> tuple[Modality, list[str]]:
    """Say what the sensors of a table measure.

    Parameters
    ----------
    targets : pandas.DataFrame
        ``sensor`` and optionally ``kind`` (``mag``, ``grad``, ``eeg`` …).
    of_file : str, optional
        What the file of responses says.
    wanted : str, optional
        What the user says.

    Returns
    -------
    modality : str
        The first of: what the file says, the column ``kind``, the user, the names.
    notes : list of str
        A sentence where only names, or nothing at all, told it.

    Raises
    ------
    InputError
        If the column ``kind`` names several modalities, or words that are none.
    """
    if of_file is not None:
        return of_file, []
    if "kind" in targets:
        return _of_kinds(targets), []
    if wanted is not None:
        return wanted, []  # type: ignore[return-value]
    names = list(dict.fromkeys(targets["sensor"].astype(str)))
    known = _modality_of_names(names)
    if known == "meg":
        return "meg", []
    if known == "eeg":
        return "eeg", [
            "the sensors have names of the 10–20 system and are taken for EEG (--modality meg if they are not)"
        ]
    return "meg", [
        f"nothing says whether the sensors ({shortened(names, 3)}) measure MEG or EEG; they are taken for MEG "
        "(--modality eeg if they are not)"
    ]


def _of_kinds(targets: pd.DataFrame) -> Modality:
    words = targets["kind"].astype(str).str.casefold()
    told = words.map({**CHANNEL_TYPES, **_OTHER_WORDS})
    where = table_name(targets, "the targets table")
    if told.isna().any():
        row = int(np.flatnonzero(told.isna())[0])
        known = ", ".join(CHANNEL_TYPES)
        raise InputError(f"Row {row} of {where} has the kind {targets['kind'].iloc[row]!r}; kinds are {known}.")
    if told.nunique() > 1:
        both = " and ".join(MODALITY_NAMES[name] for name in told.unique())
        raise InputError(f"The column 'kind' of {where} names {both}; make a study of each.")
    modality: Modality = told.iloc[0]
    return modality


def _modality_of_names(names: Sequence[str]) -> Modality | None:
    if all(_CTF.fullmatch(name) or _NEUROMAG.fullmatch(name) for name in names):
        return "meg"
    if all(re.fullmatch(r"[A-Za-z]{1,3}(z|\d{1,2})h?", name) for name in names):  # before MNE is imported
        return "eeg" if all(_plain(name) in _ten_twenty() for name in names) else None
    return "eeg" if all(name.upper().startswith("EEG") for name in names) else None


def with_montage(targets: pd.DataFrame, name: str) -> pd.DataFrame:
    """Give sensors the places of a montage (``x``, ``y``, ``z`` in mm) or of a flat layout (``u``, ``v``) of MNE.

    Raises
    ------
    InputError
        If MNE has no such montage or layout, or it lacks a sensor.
    """
    montages, layouts = _builtin()
    if name.casefold() in montages:
        places, columns = _montage(montages[name.casefold()]), ["x", "y", "z"]
        places = {sensor: 1000 * place for sensor, place in places.items()}
    elif name.casefold() in layouts:
        places, columns = _layout(layouts[name.casefold()]), ["u", "v"]
    else:
        known = ", ".join([*montages.values(), *layouts.values()])
        raise InputError(f"MNE has no montage or layout {name!r}; it has {known}.")
    keys = [_plain(_without_serial(sensor)) for sensor in targets["sensor"]]
    unknown = [sensor for sensor, key in zip(targets["sensor"], keys, strict=True) if key not in places]
    if unknown:
        raise InputError(
            f"The montage {name!r} has no sensor {unknown[0]!r}; it has {', '.join(list(places)[:5])} … Rename the "
            "sensors, or give their places as columns x, y, z of the targets table."
        )
    values = np.array([places[key] for key in keys])
    return targets.assign(**{column: values[:, number] for number, column in enumerate(columns)})


def flat_positions(
    names: str | Sequence[str], *, modality: str | None = None, places: np.ndarray | None = None
) -> np.ndarray:
    """Return where sensors lie on a head seen from above.

    Parameters
    ----------
    names : sequence of str
        Sensors.
    modality : str, optional
        ``meg`` or ``eeg``, which share some names; either by default.
    places : ndarray, (n_sensors, 3) or (n_sensors, 2), optional
        Known places: in space (x to the right ear, y to the nose, z up, any unit), or on a flat layout. Sensors of
        CTF-275 are placed by their names all the same.

    Returns
    -------
    ndarray, (n_sensors, 2)
        x to the right, y to the nose, the head's outline at radius 1; NaN where nothing is known. Names are those of
        CTF-275, CTF-151, Neuromag-306 and other MEG layouts of MNE, of the 10–20 system and its extensions, and of the
        EGI and BioSemi nets.
    """
    names = [str(name) for name in as_names(names)]
    flat = _ctf(names) if modality in (None, "meg") else np.full((len(names), 2), np.nan)
    if not np.isfinite(flat).any() and places is not None and np.isfinite(places).all(axis=1).any():
        flat = places.astype(float) if places.shape[1] == 2 else _flattened(places.astype(float))
    if np.isfinite(flat).any():
        return flat
    for lookup in (_meg_by_name if modality in (None, "meg") else None, _eeg_by_name if modality != "meg" else None):
        found = None if lookup is None else lookup(names)
        if found is not None:
            return found
    return flat


def _ctf(names: Sequence[str]) -> np.ndarray:
    from brainmap.data.sensor_layout import load_sensors

    if all(_CTF.fullmatch(name) for name in names) and len(names) < 154:
        older = _meg_by_name(names)  # most of the 151 sensors of the older system, whose names mean other places
        if older is not None:
            return older

    layout = load_sensors("ctf-275")
    flat = layout[["u", "v"]].to_numpy()
    # The layout is schematic; stretching it to fill the round head leaves less to extrapolate.
    flat = flat / np.abs(flat).max(axis=0)
    flat = flat / np.linalg.norm(flat, axis=1).max()
    place = dict(zip(layout["sensor"], flat, strict=True))
    return np.array([place.get(_without_serial(name), np.full(2, np.nan)) for name in names])


def _flattened(places: np.ndarray, middle: np.ndarray | None = None) -> np.ndarray:
    """Project places on a sphere so that equal angles from the vertex become equal distances (as EEG is drawn)."""
    known = np.isfinite(places).all(axis=1)
    towards = places - (_centre(places[known]) if middle is None else middle)
    distance = np.linalg.norm(towards, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        angle = np.arccos(np.clip(towards[:, 2] / distance, -1, 1)) / (np.pi / 2)
    azimuth = np.arctan2(towards[:, 1], towards[:, 0])
    return np.stack([angle * np.cos(azimuth), angle * np.sin(azimuth)], axis=1)


def _centre(places: np.ndarray) -> np.ndarray:
    """Return the middle of the sphere that fits the sensors; the origin where they are too few."""
    if len(places) < _FOR_SPHERE:
        return np.zeros(3)
    design = np.c_[2 * places, np.ones(len(places))]
    solution, _, rank, _ = np.linalg.lstsq(design, (places**2).sum(axis=1), rcond=None)
    middle = solution[:3]
    low, high = places.min(axis=0), places.max(axis=0)
    inside = (middle > low - (high - low)) & (middle < high)
    return middle if rank == 4 and inside.all() else np.r_[(low + high)[:2] / 2, low[2]]


def _meg_by_name(names: Sequence[str]) -> np.ndarray | None:
    digits = [_NEUROMAG.fullmatch(name) for name in names]
    if all(digits):
        layout = _layout("Vectorview-mag")
        return np.array([layout[_plain(f"MEG {match.group(1)}1")] for match in digits if match])
    for layout_name in _MEG_LAYOUTS:
        places = _layout(layout_name)
        keys = [_plain(_without_serial(name)) for name in names]
        if len(names) >= _MOST * len(places) and all(key in places for key in keys):
            return np.array([places[key] for key in keys])
    return None


def _eeg_by_name(names: Sequence[str]) -> np.ndarray | None:
    unknown = np.full(3, np.nan)
    places = np.array([_ten_twenty().get(_plain(name), unknown) for name in names])
    if np.isfinite(places[:, 0]).mean() >= _MOST:  # a reference or a name of one's own may be among them
        return _flattened(places, middle=np.zeros(3))
    for name_of_net in _NETS:
        net = _montage(name_of_net)
        if len(names) >= _MOST * len(net) and all(_plain(name) in net for name in names):
            return _flattened(np.array([net[_plain(name)] for name in names]))
    return None


@functools.cache
def _ten_twenty() -> dict[str, np.ndarray]:
    montages = _builtin()[0]
    return _montage(next(montages[name] for name in _TEN_FIVE if name in montages))


@functools.cache
def _builtin() -> tuple[dict[str, str], dict[str, str]]:
    """Montages and layouts that MNE brings, by their names in small letters."""
    import mne

    from brainmap.common.storage.files import package_file

    montages = {name.casefold(): name for name in mne.channels.get_builtin_montages()}
    montages |= {name: name for name in ("standard_1005", "standard_1020")}
    folder = package_file("mne", "channels", "data", "layouts", "CTF-275.lout").parent
    layouts = {file.stem.casefold(): file.stem for file in sorted(folder.iterdir()) if file.suffix in (".lout", ".lay")}
    return montages, layouts


@functools.cache
def _montage(name: str) -> dict[str, np.ndarray]:
    import warnings

    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of names that newer versions of MNE call otherwise
        places: dict[str, Any] = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    return {_plain(sensor): np.asarray(place, dtype=float) for sensor, place in places.items()}


@functools.cache
def _layout(name: str) -> dict[str, np.ndarray]:
    """Middles of a layout's boxes, stretched to fill the head."""
    import mne

    layout = mne.channels.read_layout(name)
    middle = layout.pos[:, :2] + layout.pos[:, 2:] / 2
    kept = [i for i, sensor in enumerate(layout.names) if sensor not in ("COMNT", "SCALE")]
    middle = middle[kept] - (middle[kept].max(axis=0) + middle[kept].min(axis=0)) / 2
    middle = middle / np.abs(middle).max(axis=0)
    middle /= np.linalg.norm(middle, axis=1).max()
    return {_plain(_without_serial(layout.names[i])): place for i, place in zip(kept, middle, strict=True)}


def _without_serial(name: str) -> str:
    """Name without the serial number of a CTF dewar: ``MLC11-1609`` → ``MLC11``."""
    return re.sub(r"^([MS][A-Z]{2}\d{2})-\d+$", r"\1", str(name))


def _plain(name: str) -> str:
    return str(name).strip().rstrip(".").replace(" ", "").casefold()
