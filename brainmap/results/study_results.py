"""What a study hands to the report: scores, statistics and provenance, without responses or features."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import MODALITY_NAMES, TIMED
from brainmap.common.readable import counted, html_table
from brainmap.common.storage.digests import is_sealed, reading, sealed_folder
from brainmap.common.storage.files import recover_folder
from brainmap.results.result_files import KIND, is_tree, load_tree, save_tree
from brainmap.results.score_tables import area_means, long_table, normalised_area_means

SCORE_DIMS = ("subject", "signal", "layer", "split", "target")
_MOST_VALUES = 10_000_000  # that a look at the results reads
_TARGET_COORDS: dict[str, tuple[str, str]] = {"fmri": ("roi", "hemisphere"), **dict.fromkeys(TIMED, ("sensor", "time"))}


@dataclass(eq=False, repr=False)
class StudyResults:
    """Everything the report shows, small enough to mail.

    Only ``provenance`` and ``scores`` are needed; a section of the report whose part is missing says so.

    Attributes
    ----------
    provenance : dict
        What was done. ``simulated`` (bool) is required. Shown by name when present: ``title``, ``dataset``, ``model``,
        ``weights``, ``weights_digest``, ``objective``, ``exactness``, ``site``, ``pooling``, ``n_images``,
        ``n_sources``, ``n_trials`` (number, or dict by modality), ``cv``, ``groups``, ``split_hash`` (text, or dict by
        modality), ``alphas``, ``alpha_per_target``, ``standardise``, ``pca``, ``inner_cv``, ``scoring``,
        ``ceiling_normalised``, ``p_values`` (how each p was made: text, or dict with ``fmri``, ``meg``, ``residual``,
        ``spatial``, ``temporal``), ``alpha_level``, ``seeds``, ``versions``, ``device``, ``created``,
        ``stimulus_duration`` (s), ``citations``. Other keys are listed too.
    scores : dict of str to xr.Dataset
        By modality (``fmri`` and one of ``meg``, ``eeg`` …): ``r`` and where available ``r2``, ``alpha`` with dims
        ``(subject, signal, layer, split, target)``. Coordinate ``depth`` on ``layer`` (0 shallow … 1 deep); on
        ``target`` for fMRI ``roi``, ``hemisphere`` (``L``/``R``) and, for maps, ``vertex`` (index in the hemisphere's
        fsLR-32k mesh, or in the left-then-right whole-brain mesh), for MEG and EEG ``sensor``, ``time`` (s) and perhaps
        ``x``, ``y``, ``z`` (mm).
    residual : dict of str to pd.DataFrame
        By modality, one row per area (fMRI) or time (MEG, EEG): ``unit``, ``delta`` (gain in r of held-out data when
        gradients join activations), ``low``, ``high``, ``statistic``, ``p_fwer``, ``significant``, and ``delta
        <subject>`` (each subject's own gain; studies of earlier versions have none).
    gains : dict of str to xr.Dataset
        By modality, what gradients add at each target: ``delta``, ``low``, ``high``, ``p`` and ``significant`` (false
        discovery rate over targets), dims ``(target,)``, and ``delta_subject``, dims ``(subject, target)``; studies of
        earlier versions have none.
    hierarchy : dict
        ``spatial``: signal → DataFrame with ``roi``, ``distance_mm``, ``best_layer`` (depth). ``temporal``: signal →
        DataFrame with ``layer``, ``depth``, ``t_max`` (s) and optionally ``low``, ``high``. Statistics in ``.attrs``:
        ``r``, ``p``, ``low``, ``high`` (interval of r), ``rho``, ``rho_p``, ``p_method``.
    significance : dict of str to xr.DataArray
        By modality, bool with dims among ``(signal, layer, target | time)``.
    controls : dict of str to pd.DataFrame
        By modality, one row per feature space: ``space``, ``r``, ``low``, ``high``.
    ceilings : dict of str to xr.DataArray
        By modality, noise ceiling of r with dims ``(subject, target)``.
    together : dict of str to xr.Dataset
        By modality, what several feature spaces predict together, of studies with ``method: banded`` or ``stacked``:
        unique and shared variance of bands, or scores and weights of a stack of layers
        (:func:`brainmap.study.analysis.bands_and_stacks.several_spaces`).
    retrieval : dict of str to pd.DataFrame
        By modality, of studies that ask for it: how often photographs are found from the responses, one row per
        ``subject``, ``layer`` and ``time``, as :func:`brainmap.statistics.retrieval` gives them.
    terms : dict of str to pd.DataFrame
        By modality, of studies with ``terms: split``: what the gradient of each ``term`` of the loss explains beyond
        the other terms (and the activations), one row per term and ``unit`` (area or time):
        :func:`brainmap.study.analysis.terms_of_the_loss.terms_of_the_loss`.
    term_maps : dict of str to xr.Dataset
        Of fMRI, the same at each target, dims ``(term, target)``.
    truth : dict, optional
        What a simulation planted, see :mod:`brainmap.report.words.planted_and_found`.
    hypotheses : pd.DataFrame, optional
        One row per hypothesis and modality, as :func:`brainmap.hierarchy.evaluate_hypotheses` gives them.

    Examples
    --------
    >>> import brainmap
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> run.modalities, run.simulated
    (('fmri', 'meg'), True)
    >>> run.to_frame("fmri", layer="block.11", signal="activation", roi="V1").columns[:4].tolist()
    ['modality', 'subject', 'signal', 'layer']
    """

    provenance: dict[str, Any]
    scores: dict[str, xr.Dataset]
    residual: dict[str, pd.DataFrame] = field(default_factory=dict)
    gains: dict[str, xr.Dataset] = field(default_factory=dict)
    hierarchy: dict[str, Any] = field(default_factory=dict)
    significance: dict[str, xr.DataArray] = field(default_factory=dict)
    controls: dict[str, pd.DataFrame] = field(default_factory=dict)
    ceilings: dict[str, xr.DataArray] = field(default_factory=dict)
    together: dict[str, xr.Dataset] = field(default_factory=dict)
    retrieval: dict[str, pd.DataFrame] = field(default_factory=dict)
    terms: dict[str, pd.DataFrame] = field(default_factory=dict)
    term_maps: dict[str, xr.Dataset] = field(default_factory=dict)
    truth: dict[str, Any] | None = None
    hypotheses: pd.DataFrame | None = None

    @property
    def simulated(self) -> bool:
        """Whether the responses were generated by a computer."""
        return bool(self.provenance.get("simulated", False))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities with scores, fMRI first."""
        return tuple(name for name in MODALITY_NAMES if name in self.scores)

    @property
    def timed(self) -> str | None:
        """The modality with sensors and times (``meg``, ``eeg`` …), None where there is none."""
        return next((name for name in TIMED if name in self.scores), None)

    def check(self) -> StudyResults:
        """Check the parts that every reader of results relies on.

        Returns
        -------
        StudyResults
            The same object.

        Raises
        ------
        InputError
            Names the first part that is missing or has the wrong dimensions.
        """
        if "simulated" not in self.provenance:
            raise InputError("provenance lacks 'simulated': say True or False, results never leave that open")
        if not self.modalities:
            raise InputError(f"scores must hold one of {', '.join(MODALITY_NAMES)}, got {sorted(self.scores)}")
        if len(set(TIMED) & set(self.scores)) > 1:
            both = " and ".join(MODALITY_NAMES[name] for name in TIMED if name in self.scores)
            raise InputError(f"scores hold {both}; results have one modality with times, keep them in two")
        for modality in self.modalities:
            scores = self.scores[modality]
            if "r" not in scores or set(scores["r"].dims) != set(SCORE_DIMS):
                dims = tuple(scores["r"].dims) if "r" in scores else "no 'r'"
                raise InputError(f"scores['{modality}'] needs 'r' with dims {SCORE_DIMS}, found {dims}")
            missing = [name for name in ("depth", *_TARGET_COORDS[modality]) if name not in scores.coords]
            if missing:
                raise InputError(f"scores['{modality}'] lacks the coordinates {missing}")
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the results; an interrupted save leaves earlier results untouched.

        Parameters
        ----------
        folder : str or Path
            Created if needed. Replaced if it holds earlier results.

        Returns
        -------
        Path
            The folder: ``results.json``, tables as CSV, arrays as Zarr.

        Raises
        ------
        InputError
            If the folder holds something else.
        """
        folder = Path(folder)
        with sealed_folder(folder, KIND) as partial:
            save_tree({item.name: getattr(self, item.name) for item in fields(StudyResults)}, partial)
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, lazy: bool | int = False) -> Self:
        """Read results written by :meth:`save`.

        Parameters
        ----------
        folder : str or Path
            The folder.
        lazy : bool or int
            Leave arrays on disk until their values are asked for: all, or those of datasets with more bytes than this.

        Raises
        ------
        MissingFileError
            If the folder holds no results.
        DamagedError
            If they are not what was written; names the file.
        """
        folder = Path(folder)
        recover_folder(folder)
        if not is_tree(folder) and not is_sealed(folder):
            raise MissingFileError(f"{folder} holds no results (results.json is missing): run the study first")
        with reading(folder, KIND):
            largest = np.inf if lazy is False else -1 if lazy is True else lazy
            return cls(**load_tree(folder, largest=largest))

    def targets(self, modality: str) -> pd.DataFrame:
        """Return one row per target of a modality: ``roi``, ``hemisphere``, ``vertex`` or ``sensor``, ``time``."""
        scores = self.scores[modality]
        columns = {str(name): scores[name].values for name in scores.coords if scores[name].dims == ("target",)}
        columns.pop("target", None)
        return pd.DataFrame(columns)

    def mean_r(self, modality: str) -> xr.DataArray:
        """Return r averaged over splits, dims ``(subject, signal, layer, target)``; one layer is read at a time."""
        r = self.scores[modality]["r"].transpose(*SCORE_DIMS)
        kept = {name: r[name] for name in r.coords if "split" not in r[name].dims}
        shape = [size for dim, size in r.sizes.items() if dim != "split"]
        mean = xr.DataArray(np.empty(shape, r.dtype), dims=[dim for dim in r.dims if dim != "split"], coords=kept)
        for place in np.ndindex(r.shape[:3]):
            mean[place] = r[place].mean("split", skipna=True)
        return mean

    def group_r(self, modality: str, signal: str) -> xr.DataArray:
        """Return r of a signal averaged over splits, then subjects, dims ``(layer, target)``."""
        r = self.scores[modality]["r"].transpose(*SCORE_DIMS).sel(signal=signal)
        kept = {name: r[name] for name in r.coords if not {"split", "subject"} & set(r[name].dims)}
        empty = np.empty((r.sizes["layer"], r.sizes["target"]), r.dtype)
        mean = xr.DataArray(empty, dims=("layer", "target"), coords=kept)
        for number in range(r.sizes["layer"]):
            mean[number] = r.isel(layer=number).mean("split", skipna=True).mean("subject", skipna=True)
        return mean

    def depths(self, modality: str) -> np.ndarray:
        """Return the depth of each layer in [0, 1]."""
        return np.asarray(self.scores[modality]["depth"].values, dtype=float)

    def to_frame(self, modality: str | None = None, *, memory: str | int = "4GB", **chosen: Any) -> pd.DataFrame:
        """Return the scores as a long table, one row per subject, signal, layer, split and target.

        Parameters
        ----------
        modality : str, optional
            ``fmri``, ``meg`` or ``eeg``; all by default.
        memory : str or int
            Bound on the size of the table.
        **chosen
            Values to keep of a dimension or of a column of the targets, such as ``layer="block.11"`` or
            ``roi=["V1", "FFC"]``; only these are read.

        Returns
        -------
        pandas.DataFrame
            ``modality``, the dimensions, ``depth``, the columns of the targets (``roi`` …, ``sensor``, ``time`` in s),
            ``r`` and, where they were computed, ``r2`` and ``alpha``.

        Raises
        ------
        InputError
            For a name or value that there is not, or a table larger than ``memory``.

        Examples
        --------
        >>> run.to_frame(layer="block.11").groupby("roi")["r"].mean()  # doctest: +SKIP
        """
        wanted = self.modalities if modality is None else (self._known(modality),)
        tables = []
        for name in wanted:
            table = long_table(self.scores[name], chosen, memory)
            table.insert(0, "modality", name)
            tables.append(table)
        return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)

    @property
    def normalise(self) -> str:
        """What the study declared: ``ceiling`` or ``none``."""
        return str(self.provenance.get("config", {}).get("normalise", "none"))

    def normalised(self, modality: str, *, minimum: float = 0.1) -> xr.Dataset:
        """Return scores as a share of the noise ceiling, with the raw ones beside them.

        Parameters
        ----------
        modality : str
            ``fmri``, ``meg`` or ``eeg``.
        minimum : float
            Targets with a lower ceiling are left out.

        Returns
        -------
        xarray.Dataset
            As :func:`brainmap.statistics.normalise_scores`: ``r`` (mean over splits), ``ceiling``, ``r_normalised`` (at
            most 1), ``masked``, ``exceeds``; dims subject, signal, layer, target.

        Raises
        ------
        InputError
            If there are no scores, or no ceilings, of this modality.
        """
        from brainmap.statistics.normalised_scores import normalise_scores

        r = self.mean_r(self._known(modality))
        if modality not in self.ceilings:
            raise InputError(f"No noise ceiling of {modality} is known: no photograph was shown twice.")
        limit = xr.DataArray(self.ceilings[modality].transpose("subject", "target").values, dims=("subject", "target"))
        return normalise_scores(r.drop_vars("subject", errors="ignore"), limit, minimum=minimum).assign_coords(r.coords)

    def roi_table(self) -> pd.DataFrame:
        """Return the mean r of every area of cortex, by subject, signal and layer.

        Returns
        -------
        pandas.DataFrame
            ``subject``, ``signal``, ``layer``, ``depth`` (0 to 1), ``roi``, ``r`` (mean over splits, then over the
            targets of the area) and ``n_targets`` (those with a score). With ``normalise: ceiling`` also
            ``r_normalised`` (mean share of the noise ceiling, of targets whose ceiling is .1 or more), ``n_normalised``
            (these targets) and ``n_above_ceiling`` (those of them that exceed it and count as 1).

        Raises
        ------
        InputError
            If the study has no fMRI scores, or its targets no areas.
        """
        table = area_means(self.scores[self._known("fmri")])
        if self.normalise != "ceiling":
            return table
        return table.merge(normalised_area_means(self.normalised("fmri")), on=["subject", "signal", "layer", "roi"])

    def _known(self, modality: str) -> str:
        if modality not in self.modalities:
            raise InputError(
                f"There are no scores of {modality!r} here; there are {', '.join(self.modalities)}: see to_frame()."
            )
        return modality

    def _described(self) -> dict[str, str]:
        """What the results hold, by modality: sizes, and the range of time where there is one."""
        described = {}
        for modality in self.modalities:
            scores = self.scores[modality]
            parts = [counted(count, str(name)) for name, count in scores["r"].sizes.items() if name != "target"]
            if "time" in scores.coords:
                time = np.unique(scores["time"].values)
                sensors = len(np.unique(scores["sensor"].values))
                parts.append(f"{counted(sensors, 'sensor')} × {counted(len(time), 'sample')}")
                parts.append(f"{1000 * time[0]:.0f} to {1000 * time[-1]:.0f} ms")
            else:
                parts.append(counted(scores.sizes["target"], "target"))
            described[MODALITY_NAMES[modality]] = ", ".join(parts)
        return described

    def _title(self) -> str:
        provenance = self.provenance
        made = " on ".join(str(provenance[name]) for name in ("model", "dataset") if provenance.get(name))
        title = str(provenance.get("title") or made or "a study")
        return title + (" · SIMULATED DATA" if self.simulated else "")

    def __repr__(self) -> str:
        parts = "; ".join(f"{name}: {size}" for name, size in self._described().items())
        return f"<{type(self).__name__} {self._title()}; {parts}>"

    def _repr_html_(self) -> str:
        """Return a table of sizes and scores for notebooks; :func:`brainmap.report.summary_html` says more."""
        rows = self._described()
        for modality in self.modalities:
            if self.scores[modality]["r"].size <= _MOST_VALUES:
                means = self.mean_r(modality).mean(["subject", "layer", "target"], skipna=True)
                shown = ", ".join(f"{name} {float(means.sel(signal=name)):.3f}" for name in means["signal"].values)
                rows[f"{MODALITY_NAMES[modality]}, mean Pearson r"] = shown
        return html_table(self._title(), rows)
