"""The declaration of one analysis: every setting that can change a number, checked before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import LEVEL, Modality, Signal, as_names
from brainmap.common.yaml_text import read_yaml
from brainmap.study.declared.command_words import settings_of_words, split_names
from brainmap.study.declared.complaints import first_complaint
from brainmap.study.declared.contradictions import refuse_contradictions
from brainmap.study.declared.data_places import OwnData, Place
from brainmap.study.declared.schema import current

Yardstick = Literal["folds", "subjects", "wilcoxon", "permutation"]
DEFAULT_GROUPS = "source"
Control = Literal["pixels", "gabor", "texture", "category", "gradient norm", "loss"]
BESIDES = ("out_space", "hypotheses", "keep")  # what is written besides the scores changes none of them
Pooling = Literal["cls", "register-mean", "patch-mean", "all-mean", "flatten"]


class StudyConfig(BaseModel):
    """Settings of a study; unknown keys are errors.

    Attributes
    ----------
    model, weights : str
        Model, by any of its names (``dinov3``, ``DINOv3-S``; kept as ``dinov3-vits16``), and which of its weights:
        ``trained``, ``untrained``, a named checkpoint, or the path of one.
    features : Path, optional
        File of features that are there already (see :class:`brainmap.features.given_features.GivenFeatures`), in place
        of a model's.
    dataset : str
        ``sample``, ``own`` with ``own`` filled in, or a public dataset (see ``brainmap data list``).
    place : Place
        Where a public dataset lies.
    reading : dict
        Settings of the reader of a public dataset, such as ``{"atlas": "streams"}``.
    modality : tuple of {"fmri", "meg", "eeg", "ieeg", "fnirs"}, optional
        What to predict, in any case (``EEG``); all the dataset has by default, and for ``both``.
    subjects, layers : tuple of str, optional
        All by default; ``layers: evenly:10`` takes ten layers at equal distances in depth, first and last included.
    signals : tuple of {"activation", "gradient"}
        What to predict from.
    site, pooling, objective : str
        Where in a block, how tokens become one vector, and which loss is backpropagated (the model's own by default).
    wrt : {"output", "weights"}
        Gradients of the site's output, or of the weights of the site's last projection (``mlp``, ``attn``), which need
        a ``projection``.
    terms : {"together", "split", "split-by-role"}
        ``split``: besides, the gradient of every term of the loss (of ``dino-ibot``: DINO and iBOT), and what each
        explains beyond the others and, where they are among the signals, the activations, with intervals and one
        correction over terms and areas or moments (:func:`brainmap.statistics.unique_variance`);
        ``split-by-role``: of every term at the tokens of every role. One more backward pass a term.
    bridge, bridge_weights : str
        Image–text model, and which of its weights, into whose caption space the objective ``clip-bridge`` maps the
        model's output; the map is fitted to the captions of the study's photographs.
    groups : str
        Photographs that are held out, permuted and flipped together: those of one ``source`` (the default), of one
        ``folder``, of one value of a column of the table of photographs or of trials (``concept``, ``run`` …), or
        ``blocks:10``: ten stretches of equal length in the order of presentation. Photographs of one source are always
        together.
    gap : int
        With blocks, photographs on either side of a test block that are left out of training.
    nuisance : tuple of str, optional
        Of a public dataset, which variables of its reader's table (session, run, gaze, motion …; ``all``) are projected
        out inside each split. One's own are in ``own.confounds``.
    controls : tuple of str, optional
        Control feature spaces (:data:`brainmap.features.control_spaces.CONTROLS`): ``pixels``, ``gabor``, ``texture``,
        ``category``, ``gradient norm``, ``loss``; by default all but ``texture`` that photographs and signals allow.
    split : {"folds", "test"}
        Score on ``cv`` folds grouped by source, or train on the rest and score on the test photographs that the data
        set names (its column ``test`` or ``shared``). What gradients add is always tested on all photographs.
    cv, seed : int
        Number of outer folds, of whole ``groups``, and the seed of their shuffling.
    pca : int, optional
        Principal components of the features, fitted on the train split; all dimensions by default.
    alphas : tuple of float, optional
        Ridge penalties to choose from: numbers, or ``low:high:count`` (``1e-2:1e8:15`` is 15, log-spaced). By default
        multiples of the mean eigenvalue of each train split's X'X, see :class:`~brainmap.encoding.EncodingRidgeCV`.
    projection : int, optional
        Dimensions of a random projection of the gradients, before anything is fitted; none by default.
    method : {"ridge", "ridge-gcv", "banded", "stacked"}
        Ridge penalties chosen by grouped inner cross-validation of r, or by generalised cross-validation of the squared
        error (the criterion of scikit-learn's ``RidgeCV``). ``banded``: besides, all ``bands`` predict together, each
        with a penalty of its own, and variance is partitioned among them; ``stacked``: besides, all layers predict
        together, each target with weights of its own (Lin et al. 2023). Both go into ``StudyResults.together``.
    bands : tuple of str, optional
        Of ``method: banded``, two to five: signals, controls by name, some layers of a signal
        (``activation:block.3/block.5``), or a signal of another model, with its own loss (``activation of
        clip-vit-base-patch32``, ``activation:block.3 of dino-tiny@untrained``). Activations and gradients by default.
    retrieval : {"none", "likelihood", "decoding"}
        Besides, find the photographs that were seen among those of their test fold, by subject, layer and, of MEG and
        EEG, moment (:func:`brainmap.statistics.retrieval`); from activations.
    residual : {"nested", "matched"}
        How the gain of gradients over activations is measured, see :mod:`brainmap.statistics.added.added_value`.
    residual_layers : {"all", "last"}
        Activations and gradients of all layers, or of the last one only: what it alone does not hold of the activations
        of earlier layers, its gradients may then add.
    residual_control : {"none", "nonlinear"}
        Test the gradients beyond random nonlinear features of the activations, too
        (:func:`brainmap.statistics.nonlinear_control`).
    fmri_test, meg_test : {"folds", "subjects", "wilcoxon", "permutation"}
        Yardstick of "above chance" (``meg_test``: of all modalities with sensors and times), see
        :mod:`brainmap.statistics.significance`; "permutation" refits on permuted photographs, see
        :mod:`brainmap.statistics.permutation.permutation_test`; ``--dry-run`` says what that takes.
    fmri_level : float
        Level of that test for fMRI, after correction for multiple testing; .05 for MEG and EEG, and elsewhere.
    permutations : int
        Permutations of photographs.
    tails : {"counted", "pareto"}
        Their small p values: counted, or of 10,000 permutations and more from a generalised Pareto distribution fitted
        to the largest scores (Winkler et al. 2016), without stopping early.
    top_areas : float, optional
        Share of the areas, best predicted by activations first, that enter the spatial hierarchy; all by default.
    order_over : {"all", "significant"}
        Targets that enter the spatial hierarchy: all, or those that some layer predicts above chance. The best layer of
        the others is chance, which pulls an area's mean to the middle.
    normalise : {"none", "ceiling"}
        ``ceiling``: beside the raw scores, tables and report also give them as a share of each target's noise ceiling;
        needs photographs that were shown twice, or the dataset's own ceilings.
    flips : int
        Sign flips of the test of the residual.
    thin : int
        Of the sample, every n-th vertex and sensor only: the same study in a fraction of the time.
    out_space : {"nifti", "gifti", "cifti"}, optional
        Also write maps of the scores to ``maps/`` in the run folder, in the space that the responses came in.
    hypotheses : Path, optional
        File of hypotheses that are locked before anything is encoded, and judged by the scores
        (:class:`brainmap.hierarchy.RegisteredHypotheses`).
    keep : str, optional
        ``encoders``: keep the fitted encoders, of each target that of its best layer; ``encoders:block.3,block.7``:
        those of these layers. They predict responses to new photographs (:class:`brainmap.study.FittedEncoder`).
    batch_size, device, memory
        How to compute (``device: auto``: the fastest there is); they are part of the provenance. Of a batch
        the CPU takes no more than ``memory`` holds at once; without a batch size, the largest that it holds.

    Examples
    --------
    >>> from brainmap.study import StudyConfig
    >>> config = StudyConfig.from_dict({"model": "DINOv3-S", "modality": "meg", "pooling": "cls"})
    >>> config.model, config.modality
    ('dinov3-vits16', ('meg',))
    """

    # Numbers are text where text is wanted: NSD calls its subjects 1, 2, …
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    model: str = "dino-tiny"
    weights: str = "trained"
    features: Path | None = None
    dataset: str = "sample"
    own: OwnData | None = None
    place: Place = Place()
    reading: dict[str, Any] = {}
    modality: tuple[Modality, ...] | None = None
    subjects: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    signals: tuple[Signal, ...] = ("activation", "gradient")
    site: Literal["block", "mlp", "attn"] = "block"
    pooling: Pooling = "patch-mean"
    objective: str | None = None
    wrt: Literal["output", "weights"] = "output"
    terms: Literal["together", "split", "split-by-role"] = "together"
    bridge: str = "clip-vit-base-patch32"
    bridge_weights: str = "trained"
    groups: str = DEFAULT_GROUPS
    gap: Annotated[int, Field(ge=0)] = 0
    nuisance: tuple[str, ...] | None = None
    controls: tuple[Control, ...] | None = None
    split: Literal["folds", "test"] = "folds"
    cv: Annotated[int, Field(ge=2, le=100)] = 5
    pca: Annotated[int, Field(ge=1)] | None = None
    alphas: tuple[float, ...] | None = None
    projection: Annotated[int, Field(ge=4)] | None = None
    method: Literal["ridge", "ridge-gcv", "banded", "stacked"] = "ridge"
    bands: tuple[str, ...] | None = None
    retrieval: Literal["none", "likelihood", "decoding"] = "none"
    residual: Literal["nested", "matched"] = "nested"
    residual_layers: Literal["all", "last"] = "all"
    residual_control: Literal["none", "nonlinear"] = "none"
    fmri_test: Yardstick = "folds"
    meg_test: Yardstick = "folds"
    fmri_level: Annotated[float, Field(gt=0, lt=1)] = LEVEL
    permutations: Annotated[int, Field(ge=19)] = 1000
    tails: Literal["counted", "pareto"] = "counted"
    top_areas: Annotated[float, Field(gt=0, le=1)] | None = None
    order_over: Literal["all", "significant"] = "all"
    normalise: Literal["none", "ceiling"] = "none"
    seed: Annotated[int, Field(ge=0)] = 0
    flips: Annotated[int, Field(ge=100)] = 5000
    thin: Annotated[int, Field(ge=1, le=40)] = 1
    batch_size: Annotated[int, Field(ge=1)] | None = 32
    device: str = "cpu"
    memory: str = "4GB"
    out_space: Literal["nifti", "gifti", "cifti"] | None = None
    hypotheses: Path | None = None
    keep: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _activations_of_a_file(cls, values: Any) -> Any:
        """A file of features holds activations, unless gradients are asked for."""
        if isinstance(values, dict) and values.get("features") is not None and values.get("signals") is None:
            return {**values, "signals": ("activation",)}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        refuse_contradictions(self)
        return self

    @property
    def n_blocks(self) -> int | None:
        """Number of blocks in time that photographs are grouped by; None for other groups."""
        kind, _, count = self.groups.partition(":")
        return int(count) if kind == "blocks" else None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):  # Python takes true for 1
            raise ValueError("no setting is true or false; give a number or a word")
        return value

    @field_validator("modality", "subjects", "layers", "signals", "nuisance", "controls", "bands", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value

    @field_validator("modality", mode="before")
    @classmethod
    def _by_its_name(cls, value: Any) -> Any:
        """Take modalities in any case; ``both`` and ``all`` are what a dataset has."""
        names = as_names(value) if isinstance(value, str | tuple | list) else value
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            return value
        small = tuple(name.strip().casefold() for name in names)
        return None if small in (("both",), ("all",)) else small

    @field_validator("alphas", mode="before")
    @classmethod
    def _alphas(cls, value: Any) -> Any:
        from brainmap.encoding.settings import parse_alphas

        try:
            return None if value is None else parse_alphas(value)
        except InputError as error:
            raise ValueError(str(error).rstrip(".")) from None

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        from brainmap.data.readers import reader_names

        known = ["sample", "own", *reader_names()]
        if value not in known:
            raise ValueError(f"there is no such dataset; there are {', '.join(known)}")
        return value

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        from brainmap.models.model_cards import resolve_model

        return resolve_model(value)

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        """Turn ``auto`` into the fastest device there is."""
        if value.casefold() == "auto":
            import torch

            return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", value):
            raise ValueError("a device is cpu, cuda (cuda:1 …), mps, or auto")
        return value

    @field_validator("keep", mode="before")
    @classmethod
    def _known_to_keep(cls, value: Any) -> Any:
        if value is None:
            return None
        what, colon, layers = str(value).partition(":")
        if what.strip() != "encoders" or (colon and not split_names(layers)):
            raise ValueError("what can be kept is 'encoders', or those of some layers: 'encoders:block.3,block.7'")
        return ":".join(["encoders", *([",".join(split_names(layers))] if colon else [])])

    @property
    def keep_layers(self) -> tuple[str, ...] | None:
        """Layers whose encoders are kept; None for the best one of each target."""
        return split_names((self.keep or "").partition(":")[2]) or None

    @field_validator("memory")
    @classmethod
    def _known_size(cls, value: str) -> str:
        parse_memory(value)
        return value

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StudyConfig:
        """Check plain values; words of the command line (``subject``, ``responses`` …) may stand among them.

        Raises
        ------
        InputError
            One sentence that names the first offending key and value.
        """
        try:
            return cls(**settings_of_words(values))
        except ValidationError as error:
            raise InputError(first_complaint(error, {"": cls, "own": OwnData, "place": Place})) from None

    @classmethod
    def from_yaml(cls, path: Path) -> StudyConfig:
        """Read a study file.

        Raises
        ------
        InputError
            If the file is missing, is not YAML, or holds an unknown key or a value out of range.
        """
        return cls.from_dict(current(read_yaml(path), str(path)))

    def yardstick(self, modality: str) -> Yardstick:
        """Return the test of "above chance" for a modality."""
        return self.fmri_test if modality == "fmri" else self.meg_test

    def level(self, modality: str) -> float:
        """Return the level of that test."""
        return self.fmri_level if modality == "fmri" else LEVEL

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain JSON-able values."""
        described: dict[str, Any] = json.loads(self.model_dump_json())
        if self.features is None:
            described.pop("features")  # studies of models are what they were before files of features
        for besides in BESIDES:
            described.pop(besides)
        own = ("bands", "retrieval", "residual_control", "terms")
        unset = (*own, "groups", "gap", "nuisance", "controls", "normalise", "tails")
        for name in unset:  # likewise: studies that set none of these
            if described[name] == type(self).model_fields[name].default:
                described.pop(name)
        if self.alphas is None:
            described.pop("alphas")
        return described

    @property
    def model_name(self) -> str:
        """What made the features: a model, or the file that holds them."""
        return self.model if self.features is None else self.features.stem

    def digest(self) -> str:
        """Twelve hex characters that identify what is computed; how and where does not count."""
        described = self.describe()
        for how in ("device", "place") if self.batch_size is None else ("device", "memory", "place"):
            described.pop(how)  # memory decides the batch size, where none is given
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
