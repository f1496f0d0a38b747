"""A user's own recordings, in whatever format, with the tables that say what the file itself does not."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.blocks import Columns
from brainmap.common.errors import InputError, ReadingNote
from brainmap.common.tables import other_delimiter, table_name
from brainmap.data.own_recordings.arrays.axis_order import oriented
from brainmap.data.own_recordings.confounds import as_confounds, with_confounds
from brainmap.data.own_recordings.formats import read_recording
from brainmap.data.own_recordings.lazy_rows import ChosenRows
from brainmap.data.own_recordings.missing_responses import without_missing
from brainmap.data.own_recordings.reading_options import ReadingOptions, reading_options
from brainmap.data.own_recordings.recording import Recording
from brainmap.data.own_recordings.trial_and_target_tables import (
    EVENT_SYNONYMS,
    TARGET_SYNONYMS,
    TableLike,
    is_sensor_table,
    open_table,
    photograph_trials,
    place_targets,
    sensor_targets,
    stimulus_labels,
    with_repeats,
)
from brainmap.data.responses import Modality, Responses
from brainmap.data.sensor_positions import measured, with_montage
from brainmap.photograph_names import PhotographNames
from brainmap.stimuli import StimulusSet


def read_responses(
    responses: Any,
    targets: TableLike | None = None,
    events: TableLike | None = None,
    stimuli: StimulusSet | None = None,
    *,
    subject: str = "01",
    check: bool = True,
    **options: Any,
) -> Responses:
    """Read recordings of one subject and check that they fit their photographs.

    Parameters
    ----------
    responses : path, array, or object of MNE
        (n_trials, n_targets) real numbers; row i is the response to the event in row i. Values stay on disk where the
        format allows it. A path may name the variable: ``file.mat::betas``.

        ============================================  =================================================================
        ``.npy .npz .mat .h5 .zarr .nc``, ``.csv``    arrays; numpy, HDF5, Zarr and xarray arrays in memory
        ``-epo.fif``, EEGLAB ``.set``                 epochs; also ``mne.Epochs``, ``EpochsArray``, lists of ``Evoked``
        ``-raw.fif .vhdr .edf .bdf`` …                continuous recordings, cut around ``onset`` or annotations
        ``.stc``, ``-stc.h5``, folder of them         source estimates; also lists of ``mne.SourceEstimate``
        ``.nii``, ``.nii.gz``                         volumes, one a trial
        ``.dscalar.nii .dtseries.nii`` …              CIFTI, one row a trial
        ``.gii .mgh .mgz``                            surfaces; the other hemisphere's file is found beside it
        ============================================  =================================================================
    targets : path to a table, or DataFrame, optional
        One row per column of ``responses``, where the file does not say it. With the columns ``sensor`` and ``time`` (s
        from onset) it is M/EEG: every sensor needs every time, and may have a place (``x`` to the right ear, ``y`` to
        the nose, ``z`` up, mm). Otherwise it is fMRI, with ``roi`` (area) and optionally
        ``hemisphere``, ``x``, ``y``, ``z`` (mm) and ``vertex`` (index in the hemisphere's mesh; without it no maps).
    events : path to a table, or DataFrame, optional
        One row per row of ``responses``, where the file does not say it; column ``stimulus`` names the photograph by
        its file name, path, or content id. Optional: ``session``, ``run``, ``repeat``. Rows without a photograph
        (``n/a``, or a condition named by ``catch``) are left out and counted.
    stimuli : StimulusSet
        The photographs.
    subject : str
        Name of the subject.
    check : bool
        Whether to go through all values once: NaN and infinite ones are missing, and what cannot be used without them
        (trials that lack most values, targets that lack a photograph) is left out and named in a note.
    **options
        See :class:`ReadingOptions`: ``mask``, ``atlas``, ``labels``, ``surface``, ``resample``, ``catch``,
        ``confounds``, ``modality``, ``montage``, ``tmin``, ``tmax``, ``axes``.

    Returns
    -------
    Responses
        M/EEG targets in sensor-by-sensor order. ``info["notes"]`` says what was not taken literally; each note is also
        given as a :class:`brainmap.common.errors.ReadingNote` warning.

    Raises
    ------
    InputError, MissingFileError
        One sentence saying what does not fit, in which row or column, and what to do.

    Examples
    --------
    >>> import brainmap
    >>> stimuli = brainmap.StimulusSet.from_folder("photos")
    >>> brainmap.read_responses("responses.npy", "targets.tsv", "events.tsv", stimuli)
    Responses(MEG, subject 01, 80 trials × 18 targets)

    What MNE holds in memory is taken as it is; a volume is cut by an atlas:

    >>> epochs = brainmap.read_responses("sub-01-epo.fif", stimuli=stimuli)  # doctest: +SKIP
    >>> betas = brainmap.read_responses("b.nii.gz", None, "trials.tsv", stimuli, atlas="dseg.nii.gz")  # doctest: +SKIP
    """
    if stimuli is None:
        raise InputError("The photographs are missing; pass stimuli=StimulusSet.from_folder(...).")
    result = assemble(responses, targets, events, stimuli, subject, reading_options(options))
    if check:
        result = checked(result)
    for note in result.info["notes"]:
        warnings.warn(note, ReadingNote, stacklevel=2)
    return result


def checked(responses: Responses) -> Responses:
    """Responses without what is missing (see :func:`without_missing`), which their notes name."""
    usable, notes = without_missing(responses)
    usable.info["notes"] = [*usable.info["notes"], *notes]
    return usable


def assemble(
    source: Any,
    targets: TableLike | None,
    events: TableLike | None,
    stimuli: StimulusSet,
    subject: str,
    options: ReadingOptions,
) -> Responses:
    """Bring values, tables and photographs together; see :func:`read_responses`."""
    trials = None if events is None else open_table(events, EVENT_SYNONYMS, "events")
    recording = read_recording(source, trials, stimuli, options)
    if targets is not None:
        recording.targets = open_table(targets, TARGET_SYNONYMS, "targets")
    trials = _trials_of(recording, trials, stimuli)
    if options.confounds is not None:
        trials = with_confounds(trials, options.confounds, recording.n_events, recording.kept)
    notes = [*recording.notes, *_table_notes(trials), *_table_notes(recording.targets)]
    target_table = _targets_of(recording, source)
    values, target_table, turned = oriented(recording, trials, target_table, options.axes)
    notes += turned
    trials, rows, left_out = photograph_trials(trials, stimuli, options.catch)
    trials, projected = as_confounds(trials, rows)
    notes += [*left_out, *projected]
    if len(rows) < values.shape[0]:
        values = ChosenRows(values, rows)
    modality, values, target_table = arranged(values, target_table, recording, options)
    notes += [note for note in recording.notes if note not in notes]
    info = {"dataset": "own recordings", **recording.info, "notes": list(dict.fromkeys(notes))}
    return Responses(values, with_repeats(trials), target_table, modality, subject, info=info)


def arranged(
    values: Any, targets: pd.DataFrame, recording: Recording, options: ReadingOptions
) -> tuple[Modality, Any, pd.DataFrame]:
    """Tell the modality by file, columns and names; bring sensors into order without moving the values."""
    if is_sensor_table(targets):
        ordered, order = sensor_targets(targets)
        in_order = np.array_equal(order, np.arange(len(order)))
        modality, notes = measured(ordered, recording.modality, options.modality)
        recording.notes += notes
        if options.montage is not None:
            ordered = with_montage(ordered, options.montage)
        return modality, values if in_order else Columns(values, order), ordered
    if options.modality is not None or options.montage is not None:
        raise InputError(
            "The targets are places (voxels, vertices or areas), not sensors at times: fMRI has neither --modality "
            f"{options.modality or 'eeg'} nor a montage; leave it out, or give the columns 'sensor' and 'time'."
        )
    from brainmap.data.meshes import MESH_VERTICES, NATIVE_MESH, mesh_name

    mesh = recording.info.get("mesh")
    if mesh is None and options.surface is not None:
        mesh = recording.info["mesh"] = mesh_name(options.surface)
    voxels = mesh == "voxels"
    table = place_targets(targets, None if voxels else MESH_VERTICES[mesh or NATIVE_MESH])
    if mesh is None:
        recording.info["mesh"] = NATIVE_MESH
    return "fmri", values, table


def _trials_of(recording: Recording, given: pd.DataFrame | None, stimuli: StimulusSet) -> pd.DataFrame:
    """The events table, or what the file says; rows of epochs that were rejected are passed over."""
    if given is None:
        if recording.trials is None or "stimulus" not in recording.trials:
            raise InputError(
                f"{recording.info.get('file', 'The array')} does not say which photograph each trial showed; give a "
                "table with one row per trial and a column 'stimulus' (events=…, --events FILE)."
            )
        return recording.trials
    if recording.table_used and recording.trials is not None:
        return recording.trials
    if "stimulus" not in given:
        where = table_name(given, "the events table")
        where = where[:1].upper() + where[1:] if where.startswith("the ") else where
        told = f"{list(given.columns)[:12]}{other_delimiter(given)}"
        raise InputError(f"{where} has no column 'stimulus'; it has {told}.")
    n_trials = int(recording.values.shape[0])
    if recording.kept is not None and len(given) != n_trials and len(given) == recording.n_events:
        recording.notes.append(
            f"{len(given) - n_trials} of {len(given)} events were rejected in {recording.info['file']}"
        )
        attrs, given = given.attrs, given.iloc[recording.kept].reset_index(drop=True)
        given.attrs = attrs
    if recording.trials is not None and "stimulus" in recording.trials and len(given) == n_trials:
        _refuse_contradiction(recording, given, stimuli)
    return given


def _refuse_contradiction(recording: Recording, given: pd.DataFrame, stimuli: StimulusSet) -> None:
    """Refuse a table that names other photographs than the file does; conditions that name none don't count."""
    assert recording.trials is not None
    known = PhotographNames([str(name) for name in stimuli.table["name"]])
    places: dict[str, list[int]] = {}
    labels = zip(stimulus_labels(given["stimulus"]), stimulus_labels(recording.trials["stimulus"]), strict=True)
    for row, (said, own) in enumerate(labels):
        for label in (said, own):
            if label not in places:
                places[label] = known.find(label) if label else []
        if len(places[said]) == len(places[own]) == 1 and places[said] != places[own]:
            raise InputError(
                f"Row {row} of {table_name(given, 'the events table')} names {said!r}, but "
                f"{recording.info.get('file', 'the recording')} itself says {own!r} for that trial; leave the table "
                "out, or correct one of them."
            )


def _targets_of(recording: Recording, source: Any) -> pd.DataFrame:
    if recording.targets is None:
        raise InputError(
            f"{recording.info.get('file', 'The array')} does not say what its "
            "columns are; give a table with one row per "
            "column: 'roi' for fMRI, 'sensor' and 'time' for M/EEG (targets=…, --targets FILE)."
        )
    return recording.targets


def _table_notes(table: pd.DataFrame | None) -> list[str]:
    return [] if table is None else list(table.attrs.get("notes", []))


def rows_of(responses: Responses, rows: np.ndarray, subject: str) -> Responses:
    """Responses of some trials only, as another subject's."""
    trials = responses.trials.iloc[rows].reset_index(drop=True)
    return replace(responses, values=ChosenRows(responses.values, rows), trials=trials, subject=subject)
