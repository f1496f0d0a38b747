"""Brain scores while a network is trained: a callback that evaluates fixed photographs at chosen steps."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.storage.files import write_atomically
from brainmap.data import Responses
from brainmap.encoding import EncodingResult, EncodingRidgeCV, NumericalWarning, PreparedEncoding
from brainmap.stimuli import StimulusSet
from brainmap.study.analysis.rows_and_spaces import align_rows

if TYPE_CHECKING:
    from torch import nn

    from brainmap.features import Features
    from brainmap.models import Preprocessing, VisionModel

SERIES = "series.json"
Logger = Callable[[Mapping[str, float], int], None]


class BrainScores:
    """Score a network against brain responses while it is trained.

    Parameters
    ----------
    stimuli : StimulusSet
        Photographs, all of which are looked at each time: give a subset where evaluations should be quick.
    responses : Responses or sequence of Responses
        Of one or more subjects and modalities, to these photographs. Repeats are averaged once, at the beginning.
    folder : str or Path
        Where each evaluation is kept; a training that continues finds it again.
    every : "log", int or iterable of int
        At which steps: three in every decade (1, 2, 5, 10, 20 …, and 0), every so many, or these.
    layers : sequence of str, optional
        Layers; of a plain ``torch.nn.Module`` paths of its modules, as :func:`brainmap.from_module` takes them.
    pooling, site : str
        As :class:`brainmap.FeatureExtractor` takes them.
    preprocessing : Preprocessing, optional
        What a plain module expects of a photograph, as :func:`brainmap.from_module` takes it.
    estimator, cv
        As :func:`brainmap.cross_val_encode` takes them. Photographs of one source are always in one fold.
    log : callable, optional
        Called with ``{"meg S1 block.3": mean r, …}`` and the step, such as ``wandb.log`` or a writer of TensorBoard:
        ``lambda scores, step: [writer.add_scalar(name, r, step) for name, r in scores.items()]``.

    Notes
    -----
    In Lightning ``Trainer(callbacks=[scores.for_lightning()])``, in Hugging Face's Trainer ``scores.for_trainer()``.

    A copy of the network is evaluated, in ``eval`` mode; torch's random numbers go on as if nothing had been. On a CPU
    a training with the callback is the training without it, bit by bit, and an evaluation is what
    :func:`brainmap.cross_val_encode` finds of the weights of that step.

    Examples
    --------
    >>> from pathlib import Path
    >>> import brainmap
    >>> from torch import nn
    >>> from brainmap.data.own_recordings.subjects import read_subjects
    >>> from brainmap.study import BrainScores
    >>> photographs = brainmap.StimulusSet.from_folder("photos")
    >>> (meg,) = read_subjects("responses.npy", Path("targets.tsv"), Path("events.tsv"), photographs).values()
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    >>> scores = BrainScores(photographs, meg, "while_training", layers=["1", "3"])
    >>> for step in range(3):  # of a training
    ...     told = scores.after_step(step, network)
    >>> dict(scores.series()["meg"].sizes)
    {'step': 3, 'unit': 2, 'subject': 1, 'split': 5}
    """

    def __init__(
        self,
        stimuli: StimulusSet,
        responses: Responses | Sequence[Responses],
        folder: str | Path,
        *,
        every: str | int | Iterable[int] = "log",
        layers: Sequence[str] | None = None,
        pooling: str = "patch-mean",
        site: str = "block",
        estimator: EncodingRidgeCV | None = None,
        cv: Any = 5,
        preprocessing: Preprocessing | None = None,
        log: Logger | None = None,
    ) -> None:
        several = [responses] if isinstance(responses, Responses) else list(responses)
        if not several:
            raise InputError("Brain scores need the responses of one subject or more.")
        self.stimuli, self.folder, self.layers = stimuli, Path(folder), layers
        self.subjects = [align_rows(each, stimuli) for each in several]
        self.values = [np.asarray(subject.averaged.values[:]) for subject in self.subjects]
        self.pooling, self.site, self.cv, self.log = pooling, site, cv, log
        self.preprocessing = preprocessing
        self.estimator = EncodingRidgeCV() if estimator is None else estimator
        self.every = every if isinstance(every, str | int) else frozenset(int(step) for step in every)
        if self.every != "log" and (isinstance(self.every, str) or (isinstance(self.every, int) and self.every < 1)):
            raise InputError(f"'every' is 'log', a number of steps from 1, or the steps themselves, not {every!r}.")
        self._claim()

    def due(self, step: int) -> bool:
        """Whether a step is one of those that are evaluated."""
        if self.every == "log":
            decade = 10 ** max(int(np.floor(np.log10(step))) if step > 0 else 0, 0)
            return step == 0 or step in (decade, 2 * decade, 5 * decade)
        if isinstance(self.every, int):
            return step % self.every == 0
        return step in self.every

    def after_step(self, step: int, model: VisionModel | nn.Module) -> dict[str, float] | None:
        """Evaluate if the step is due and not evaluated yet; returns mean r by subject and layer, else None."""
        if not self.due(step) or self._place(step).is_dir():
            return None
        return self.evaluate(step, model)

    def evaluate(self, step: int, model: VisionModel | nn.Module) -> dict[str, float]:
        """Evaluate now, whatever the step; an evaluation of the same step is replaced."""
        features = self._features(model)
        told: dict[str, float] = {}
        for subject, values in zip(self.subjects, self.values, strict=True):
            rows = {layer: np.asarray(features["activation", layer])[subject.rows] for layer in features.layers}
            prepared = PreparedEncoding(rows, estimator=self.estimator, cv=self.cv, groups=subject.groups)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumericalWarning)  # the texts stand with the scores
                result = prepared.encode(values).with_targets(subject.averaged.targets)
            averaged = subject.averaged
            result.save(self._place(step) / averaged.modality / averaged.subject)
            mean = result.r.mean(("split", "target"))
            names = [f"{averaged.modality} {averaged.subject} {layer}" for layer in mean["layer"].values]
            told |= dict(zip(names, map(float, mean.values), strict=True))
        if self.log is not None:
            self.log(told, step)
        return told

    def for_lightning(self, network: Callable[[Any], Any] | None = None) -> Any:
        """Return a Lightning callback, see :func:`brainmap.study.training_callbacks.lightning_callback`."""
        from brainmap.study.training_callbacks import lightning_callback

        return lightning_callback(self, network)

    def for_trainer(self, network: Callable[[Any], Any] | None = None) -> Any:
        """Return one of transformers' Trainer, see :func:`brainmap.study.training_callbacks.trainer_callback`."""
        from brainmap.study.training_callbacks import trainer_callback

        return trainer_callback(self, network)

    def series(self) -> dict[str, xr.DataArray]:
        """Return r of every evaluation, by modality: dims (step, unit, subject, split), mean over targets.

        A unit is a layer; :func:`brainmap.hierarchy.half_times` takes it (``unit="unit"``).

        Raises
        ------
        InputError
            If nothing has been evaluated yet.
        """
        places = sorted(self.folder.glob("step_*"), key=lambda place: int(place.name.removeprefix("step_")))
        steps = [int(place.name.removeprefix("step_")) for place in places]
        if not steps:
            raise InputError(f"{self.folder} holds no evaluation yet.")
        series: dict[str, xr.DataArray] = {}
        for modality in dict.fromkeys(subject.averaged.modality for subject in self.subjects):
            names = [subject.averaged.subject for subject in self.subjects if subject.averaged.modality == modality]
            arrays = []
            for place in places:
                r = [EncodingResult.load(place / modality / name).r.mean("target") for name in names]
                arrays.append(xr.concat(r, pd.Index(names, name="subject"), coords="minimal", compat="override"))
            together = xr.concat(arrays, pd.Index(steps, name="step"), coords="minimal", compat="override")
            series[modality] = together.rename(layer="unit").transpose("step", "unit", "subject", "split").rename("r")
        return series

    def _features(self, model: VisionModel | nn.Module) -> Features:
        """Features of all photographs, of a copy: what is trained is not touched, and random numbers go on."""
        import torch

        from brainmap.features import FeatureExtractor
        from brainmap.models import VisionModel, from_module

        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            if isinstance(model, VisionModel):
                seen, layers = model, self.layers
            elif self.layers is None:
                raise InputError("Name the 'layers' of a module that is no VisionModel, by their paths.")
            else:
                more: dict[str, Any] = {"layers": list(self.layers), "preprocessing": self.preprocessing}
                seen, layers = from_module(copy.deepcopy(model), name="in training", **more), None
            options: dict[str, Any] = {"layers": layers, "pooling": self.pooling, "site": self.site}
            return FeatureExtractor(seen, signals=["activation"], **options).extract(self.stimuli)

    def _place(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"

    def _claim(self) -> None:
        """Take the folder for these photographs and responses.

        Raises
        ------
        InputError
            If it holds evaluations of others.
        """
        identity = {
            "stimuli": self.stimuli.digest,
            "responses": [
                f"{each.averaged.modality} {each.averaged.subject} {_digest(values)}"
                for each, values in zip(self.subjects, self.values, strict=True)
            ],
            "pooling": self.pooling,
            "site": self.site,
        }
        file = self.folder / SERIES
        if file.is_file():
            if json.loads(file.read_text(encoding="utf-8")) != identity:
                raise InputError(f"{self.folder} holds evaluations of other photographs, responses or poolings.")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(identity, indent=1))


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
