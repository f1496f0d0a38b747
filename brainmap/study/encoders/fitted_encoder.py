"""Encoders that a finished run has kept, loaded again: responses to photographs that nobody has shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.readable import counted
from brainmap.common.storage.digests import reading
from brainmap.encoding import EncodingRidgeCV
from brainmap.stimuli import StimulusSet
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.encoders.keeping import FORMAT, KIND, META, REFIT

if TYPE_CHECKING:
    from brainmap.features import Features

LARGEST = 2 * 1024**3  # bytes of predictions that are made at once


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """Encoders of one modality and signal, of one or more subjects, refit on all photographs of their study.

    Attributes
    ----------
    modality, signal : str
        Which responses, predicted from what.
    folders : dict of str to Path
        Subject → folder of its encoders.
    about : dict
        What was written with them: ``model`` settings, ``weights_digest``, ``unit`` of the predictions,
        ``n_photographs`` of the refit, ``layers``, ``reproduced_to`` (largest difference between the stored scores and
        those that the folds' encoders make of held-out photographs).
    targets : pandas.DataFrame
        One row per target, as the run's scores have them.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.study import FittedEncoder
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> encoder: FittedEncoder = run.encoder("fmri")  # doctest: +SKIP
    >>> encoder.predict("new_photographs").dims  # doctest: +SKIP
    ('subject', 'stimulus', 'target')
    """

    modality: str
    signal: str
    folders: dict[str, Path]
    about: dict[str, Any]
    targets: pd.DataFrame = field(repr=False)

    @property
    def layers(self) -> list[str]:
        """Layers that some target is predicted from."""
        return list(dict.fromkeys(name for folder in self.folders.values() for name in _meta(folder)["layers"]))

    def describe(self) -> str:
        """Say in a sentence or two what predicts, from what it was fitted, and in which unit."""
        about = self.about
        settings = about["settings"]
        of = "the layer that predicts it best" if about["best_layer"] else f"{', '.join(about['layers'])}"
        simulated = " SIMULATED" if about["simulated"] else ""
        what = f"{counted(len(self.targets), 'target')} of{simulated} {self.modality}"
        return (
            f"{what}, {counted(len(self.folders), 'subject')}: {self.signal}s of {settings['model']} "
            f"({settings['weights']}), each target from {of}. Refit on all {about['n_photographs']:,} "
            f"photographs of the study; the stored scores are those of the folds' encoders, which reproduce them to "
            f"{about['reproduced_to']:.0e}. Unit: {about['unit']}."
        )

    def predict(self, stimuli: StimulusSet | str | Path, *, layer: str | None = None) -> xr.DataArray:
        """Predict responses to photographs.

        Parameters
        ----------
        stimuli : StimulusSet, str or Path
            Photographs, or a folder or zip of them; any, those of the study included (of which these encoders know the
            responses).
        layer : str, optional
            Where a study has kept several layers for all targets, which; the first by default.

        Returns
        -------
        xarray.DataArray
            float32, dims (subject, stimulus, target), with the columns of the targets and the photographs' names as
            coordinates; ``attrs`` say ``unit``, ``fitted_on``, ``simulated`` and what predicts.

        Raises
        ------
        InputError
            If the model is not the one that the encoders were fitted to, the features came out of a file, or the
            predictions are larger than 2 GB.
        """
        return self.predict_photographs(stimuli, layer=layer)[0]

    def predict_photographs(
        self, stimuli: StimulusSet | str | Path, *, layer: str | None = None
    ) -> tuple[xr.DataArray, StimulusSet]:
        """Return predictions as :meth:`predict`, and the photographs as they were opened."""
        stimuli = _photographs(stimuli)
        size = 4 * len(self.folders) * len(stimuli) * len(self.targets)
        if size > LARGEST:
            raise InputError(f"These predictions take {size / 1e9:.1f} GB; predict fewer photographs, or one subject.")
        return self.predict_features(self.features(stimuli), stimuli, layer=layer), stimuli

    def features(self, stimuli: StimulusSet) -> Features:
        """Extract what the encoders predict from, with the model of the study."""
        from brainmap.study.inputs import CLIP_BRIDGE, extractor

        if self.about["features_file"]:
            raise InputError(
                "This study took its features from a file: no model is known that makes those of new images."
            )
        settings = dict(self.about["settings"])
        if settings.get("objective") == CLIP_BRIDGE and self.signal == "gradient":
            raise InputError("Gradients of clip-bridge depend on the study's captions; predict from its activations.")
        wanted = {"signals": (self.signal,), "layers": tuple(self.layers), "controls": None}
        extracting = extractor(StudyConfig.from_dict({**settings, **wanted}), None)
        digest = extracting.model.digest
        if digest != self.about["weights_digest"]:
            raise InputError(
                f"The weights of {settings['model']} ({settings['weights']}) are not those that the encoders were "
                f"fitted to ({digest[:12]} here, {self.about['weights_digest'][:12]} there)."
            )
        return extracting.extract(stimuli)

    def predict_features(self, features: Features, stimuli: StimulusSet, *, layer: str | None = None) -> xr.DataArray:
        """Predict from features that are there already, rows in the order of the photographs."""
        values = np.full((len(self.folders), len(stimuli), len(self.targets)), np.nan, dtype=np.float32)
        for number, folder in enumerate(self.folders.values()):
            for name, targets, estimator in _stored(folder, layer):
                values[number][:, targets] = estimator.predict(np.asarray(features[self.signal, name]))
        coords: dict[str, Any] = {"subject": list(self.folders), "stimulus": stimuli.ids}
        coords["name"] = ("stimulus", stimuli.table["name"].astype(str).to_numpy())
        coords |= {str(name): ("target", self.targets[name].to_numpy()) for name in self.targets}
        attrs = {
            "unit": self.about["unit"],
            "fitted_on": f"all {self.about['n_photographs']} photographs of the study (refit)",
            "simulated": int(self.about["simulated"]),
            "model": self.about["settings"]["model"],
            "weights_digest": self.about["weights_digest"],
            "signal": self.signal,
            "modality": self.modality,
        }
        return xr.DataArray(values, dims=("subject", "stimulus", "target"), coords=coords, name="response", attrs=attrs)

    def drivers(self, predicted: xr.DataArray, *, n: int = 8) -> pd.DataFrame:
        """Rank photographs by the mean predicted response of every area, or of every sensor: an in-silico localiser.

        Parameters
        ----------
        predicted : xarray.DataArray
            From :meth:`predict`.
        n : int
            Photographs an area.

        Returns
        -------
        pandas.DataFrame
            ``area`` (or ``sensor``), ``rank`` from 1, ``name`` and ``row`` of the photograph, ``response`` (mean over
            subjects, targets and times, in the unit of the predictions), ``z`` (of the photograph among all these).
        """
        column = "roi" if "roi" in predicted.coords else "sensor"
        mean = predicted.mean("subject").groupby(column).mean().transpose(column, "stimulus")
        rows = []
        for area, responses in zip(mean[column].values.astype(str), mean.values, strict=True):
            if not area:
                continue
            spread = float(responses.std()) or 1.0
            for rank, row in enumerate(np.argsort(-responses, kind="stable")[:n], 1):
                z = (responses[row] - responses.mean()) / spread
                rows.append((area, rank, str(predicted["name"].values[row]), int(row), float(responses[row]), float(z)))
        return pd.DataFrame(
            rows, columns=["area" if column == "roi" else column, "rank", "name", "row", "response", "z"]
        )


def open_encoder(root: Path, targets: pd.DataFrame, modality: str, signal: str, subject: str | None) -> FittedEncoder:
    """Open the encoders that a run has kept.

    Raises
    ------
    MissingFileError
        If it has kept none of these.
    DamagedError
        If they are not what was written.
    """
    there = {path.parent.name: path for path in sorted((root / modality).glob(f"*/{signal}")) if path.is_dir()}
    if not there:
        raise MissingFileError(
            f"the run has kept no encoders of {modality} from {signal}s; run its command again with --keep encoders"
        )
    if subject is not None and subject not in there:
        raise InputError(f"there are no encoders of subject {subject!r}; there are {', '.join(there)}")
    folders = there if subject is None else {subject: there[subject]}
    return FittedEncoder(modality, signal, folders, _meta(next(iter(folders.values()))), targets)


def _meta(folder: Path) -> dict[str, Any]:
    with reading(folder, KIND):
        meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
    if meta.get("format") != FORMAT:
        raise InputError(
            f"{folder} holds encoders of another version; remove it, and the run's command keeps new ones."
        )
    return meta


def _stored(folder: Path, layer: str | None) -> list[tuple[str, Any, EncodingRidgeCV]]:
    """Layers of one subject with their targets and refits."""
    meta = _meta(folder)
    names = meta["layers"] if meta["best_layer"] else [layer or meta["layers"][0]]
    if layer is not None and (meta["best_layer"] or layer not in meta["layers"]):
        kept = "the best layer of each target" if meta["best_layer"] else ", ".join(meta["layers"])
        raise InputError(f"The study has kept {kept}; leave 'layer' out, or keep encoders:{layer}.")
    return [
        (name, np.load(folder / name / "targets.npy", allow_pickle=False), EncodingRidgeCV.load(folder / name / REFIT))
        for name in names
    ]


def _photographs(stimuli: StimulusSet | str | Path) -> StimulusSet:
    if isinstance(stimuli, StimulusSet):
        return stimuli
    path = Path(stimuli)
    return StimulusSet.from_zip(path) if path.suffix.lower() == ".zip" else StimulusSet.from_folder(path)
