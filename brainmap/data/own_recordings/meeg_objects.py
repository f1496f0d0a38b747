"""MNE's objects as recordings: names, times, events and positions are taken from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES, Modality
from brainmap.common.tables import as_numbers, rename_columns
from brainmap.data.own_recordings.lazy_rows import SpooledRows
from brainmap.data.own_recordings.reading_options import ReadingOptions
from brainmap.data.own_recordings.recording import Recording
from brainmap.data.own_recordings.trial_and_target_tables import EVENT_SYNONYMS
from brainmap.data.sensor_positions import CHANNEL_TYPES
from brainmap.photograph_names import PhotographNames
from brainmap.stimuli import StimulusSet

BLOCK_BYTES = 64 * 2**20
MM = 1000.0


def read_object(source: Any, trials: pd.DataFrame | None, stimuli: StimulusSet, options: ReadingOptions) -> Recording:
    """Take an object of MNE: Epochs, Raw, Evoked or SourceEstimate, or a list of the latter two."""
    import mne

    parts = list(source) if isinstance(source, list | tuple) else [source]
    if isinstance(source, mne.BaseEpochs):
        return epochs_recording(source, "epochs", options)
    if isinstance(source, mne.io.BaseRaw):
        return raw_recording(source, trials, stimuli, options, "recording")
    if all(isinstance(part, mne.Evoked) for part in parts):
        return evoked_recording(parts, "evoked responses", options)
    if all(hasattr(part, "vertices") and hasattr(part, "data") and hasattr(part, "tstep") for part in parts):
        return estimates_recording(parts, lambda part: part, None, "source estimates")
    if any(isinstance(part, mne.BaseEpochs | mne.io.BaseRaw) for part in parts):
        raise InputError("A list of epochs or recordings is given; join them with mne.concatenate_epochs or _raws.")
    raise InputError(
        f"Responses cannot be made of {type(parts[0]).__name__}; give Epochs, "
        "Raw, or lists of Evoked or SourceEstimate."
    )


# -- epochs ---------------------------------------------------------------------------------------------------------


def epochs_recording(epochs: Any, name: str, options: ReadingOptions | None = None) -> Recording:
    """Epochs as trials × (sensor, time); they stay on disk where MNE has not loaded them."""
    n_events = len(epochs.drop_log)
    if not epochs.preload:
        epochs = epochs.copy().drop_bad(verbose="error")
    if not len(epochs):
        raise InputError(f"{name} holds no epochs; all were rejected.")
    modality, picks, notes = data_channels(epochs.info, name, None if options is None else options.modality)
    times = np.asarray(epochs.times, dtype=float)
    shape = (len(epochs), len(picks) * len(times))
    if epochs.preload:
        values: Any = np.asarray(epochs.get_data(picks=picks, copy=False)).reshape(shape)
    else:
        values = SpooledRows(shape, functools.partial(_epoch_blocks, epochs, picks, len(times)), name)
    return Recording(
        values,
        targets=sensor_table(epochs.info, picks, times, name),
        trials=epoch_trials(epochs, name),
        modality=modality,
        kept=np.asarray(epochs.selection),
        n_events=n_events,
        info={"file": name, "sfreq": float(epochs.info["sfreq"])},
        notes=notes,
    )


def _epoch_blocks(epochs: Any, picks: np.ndarray, n_times: int) -> Iterator[np.ndarray]:
    step = max(1, BLOCK_BYTES // (8 * len(epochs.ch_names) * n_times))
    for start in range(0, len(epochs), step):
        block = epochs.get_data(picks=picks, item=slice(start, start + step), verbose="error")
        yield block.reshape(len(block), -1)


def data_channels(info: Any, name: str, wanted: str | None = None) -> tuple[Modality, np.ndarray, list[str]]:
    """Channels that measure a brain, without those marked bad, and what they measure.

    Raises
    ------
    InputError
        If there are none, or several kinds of them and none is asked for.
    """
    types = info.get_channel_types()
    kinds = np.array([CHANNEL_TYPES.get(kind, "") for kind in types])
    bad = np.isin(info["ch_names"], info["bads"])
    there = {kind: int((kinds == kind).sum()) for kind in dict.fromkeys(kinds[~bad]) if kind}
    if not there:
        if bad.any() and (kinds[bad] != "").any():
            raise InputError(f"All channels of {name} that measure a brain are marked bad; unmark some in MNE.")
        listed = ", ".join(sorted(set(types)))
        raise InputError(f"{name} has no MEG, EEG, iEEG or fNIRS channels, only {listed}; set their types in MNE.")
    if len(there) > 1 and wanted not in there:
        counted = " and ".join(f"{count} {MODALITY_NAMES[kind]}" for kind, count in there.items())
        choices = " or ".join(f"--modality {kind}" for kind in there)
        raise InputError(
            f"{name} holds {counted} channels; choose one kind with {choices} (read_responses: modality=…)."
        )
    modality = wanted if wanted in there else next(iter(there))
    picks = np.flatnonzero((kinds == modality) & ~bad)
    left = int(((kinds == modality) & bad).sum())
    notes = [f"{left} channels of {name} that are marked bad are left out"] if left else []
    return modality, picks, notes  # type: ignore[return-value]


def sensor_table(info: Any, picks: np.ndarray, times: np.ndarray, name: str) -> pd.DataFrame:
    """One row per sensor × time: ``sensor``, ``time`` (s), ``kind``, and ``x``, ``y``, ``z`` (mm) where known."""
    kinds = info.get_channel_types()
    places = np.array([np.asarray(info["chs"][pick]["loc"][:3], dtype=float) for pick in picks])
    unknown = ~np.isfinite(places).all(axis=1) | (places == 0).all(axis=1)
    places[unknown] = np.nan
    sensor = np.repeat(np.arange(len(picks)), len(times))
    table = pd.DataFrame(
        {
            "sensor": np.array([info["ch_names"][pick] for pick in picks], dtype=object)[sensor],
            "time": np.tile(np.round(times, 9), len(picks)),
            "kind": np.array([kinds[pick] for pick in picks], dtype=object)[sensor],
            **{axis: MM * places[sensor, number] for number, axis in enumerate("xyz")},
        }
    )
    table.attrs = {"file": name, "notes": []}
    return table


def epoch_trials(epochs: Any, name: str) -> pd.DataFrame:
    """What epochs say of their trials: their metadata, or the names of their events."""
    metadata = epochs.metadata
    table = pd.DataFrame(index=range(len(epochs))) if metadata is None else metadata.reset_index(drop=True).copy()
    table.attrs = {"file": name, "notes": []}
    table = rename_columns(table, EVENT_SYNONYMS)
    if "stimulus" not in table:
        names = {code: label for label, code in epochs.event_id.items()}
        table["stimulus"] = [names.get(code, str(code)) for code in epochs.events[:, 2]]
        table.attrs["hint"] = "events are named by their condition; give a table of events with a column 'stimulus'"
    return table


# -- continuous recordings --------------------------------------------------------------------------------------------


def raw_recording(
    raw: Any, trials: pd.DataFrame | None, stimuli: StimulusSet, options: ReadingOptions, name: str
) -> Recording:
    """Cut a continuous recording around the onsets of a table, or around annotations that name photographs."""
    import mne

    onsets, table = _onsets(raw, trials, stimuli, name)
    rate = float(raw.info["sfreq"])
    late = onsets > raw.times[-1]
    if 2 * int(late.sum()) > len(onsets):
        raise InputError(
            f"{int(late.sum())} of {len(onsets)} onsets lie after the end of {name} ({raw.times[-1]:.1f} s); 'onset' "
            "must be in seconds from its start, not in samples or milliseconds."
        )
    samples = np.round(onsets * rate).astype(np.int64) + raw.first_samp
    if len(np.unique(samples)) < len(samples):
        raise InputError(f"Two events of {name} start at the same sample; remove one.")
    order = np.argsort(samples, kind="stable")
    events = np.stack([samples[order], np.zeros_like(samples), np.ones_like(samples)], axis=1)
    epochs = mne.Epochs(
        raw, events, tmin=options.tmin, tmax=options.tmax, baseline=None, preload=False, proj=False, verbose="error"
    )
    epochs.drop_bad(verbose="error")
    if not len(epochs):
        raise InputError(
            f"None of the {len(onsets)} epochs from {options.tmin:g} to {options.tmax:g} s lies inside {name} "
            f"({raw.times[-1]:.1f} s, without bad segments); check that 'onset' is in seconds from its start."
        )
    recording = epochs_recording(epochs, name, options)
    kept = order[np.asarray(epochs.selection)]
    chosen = table.iloc[kept].reset_index(drop=True)
    chosen.attrs = dict(table.attrs)
    recording.trials, recording.kept, recording.n_events = chosen, None, None
    recording.table_used = trials is not None
    lost = len(onsets) - len(kept)
    recording.notes.append(
        f"{name} is continuous: {len(kept)} epochs from {options.tmin:g} to {options.tmax:g} s are cut, without filter "
        "or baseline (options tmin, tmax)"
    )
    if lost:
        recording.notes.append(
            f"{lost} of {len(onsets)} epochs reach beyond {name} or into bad segments and are left out"
        )
    return recording


def _onsets(raw: Any, trials: pd.DataFrame | None, stimuli: StimulusSet, name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Onsets in s from the first sample, and a row for each."""
    import mne

    if trials is not None:
        if "onset" not in trials:
            raise InputError(f"{name} is a continuous recording: its table of events needs a column 'onset' (s).")
        table = as_numbers(trials, ["onset"])
        onset = table["onset"].to_numpy(dtype=float)
        needed = table["stimulus"].notna().to_numpy() if "stimulus" in table else np.ones(len(table), dtype=bool)
        lacking = np.flatnonzero(needed & ~np.isfinite(onset))
        if len(lacking):
            raise InputError(f"Row {lacking[0]} of the events of {name} has no onset; give seconds from its start.")
        timed = np.isfinite(onset)
        chosen = table[timed].reset_index(drop=True)
        chosen.attrs = dict(table.attrs)
        return onset[timed], chosen
    known = PhotographNames([str(label) for label in stimuli.table["name"]])
    texts = sorted(set(map(str, raw.annotations.description)))
    codes = {text: 1 + number for number, text in enumerate(texts) if len(known.find(text)) == 1}
    if not codes:
        told = ", ".join(texts[:5]) or "none"
        raise InputError(
            f"{name} is continuous, and none of its annotations ({told}) names a photograph; give a table of events "
            "with the columns 'onset' (s) and 'stimulus'."
        )
    events, _ = mne.events_from_annotations(raw, codes, verbose="error")
    table = pd.DataFrame({"stimulus": [texts[code - 1] for code in events[:, 2]]})
    table.attrs = {"file": name, "notes": []}
    return (events[:, 0] - raw.first_samp) / float(raw.info["sfreq"]), table


# -- averages and sources ---------------------------------------------------------------------------------------------


def evoked_recording(evoked: Sequence[Any], name: str, options: ReadingOptions | None = None) -> Recording:
    """Evoked responses, one a photograph, named by their comments."""
    first = evoked[0]
    modality, picks, notes = data_channels(first.info, name, None if options is None else options.modality)
    channels = [first.ch_names[pick] for pick in picks]
    rows = []
    for number, part in enumerate(evoked):
        lacking = [channel for channel in channels if channel not in part.ch_names]
        if lacking or len(part.times) != len(first.times) or not np.allclose(part.times, first.times, atol=1e-6):
            what = f"lacks the channel {lacking[0]!r}" if lacking else "has other times"
            raise InputError(f"Response {number} ({part.comment!r}) of {name} {what} than the first; make them equal.")
        rows.append(part.data[[part.ch_names.index(channel) for channel in channels]].ravel())
    trials = pd.DataFrame({"stimulus": [str(part.comment) for part in evoked]})
    trials.attrs = {"file": name, "notes": []}
    return Recording(
        np.stack(rows),
        targets=sensor_table(first.info, picks, np.asarray(first.times, dtype=float), name),
        trials=trials,
        modality=modality,
        info={"file": name, "sfreq": float(first.info["sfreq"])},
        notes=notes,
    )


def estimates_recording(
    sources: Sequence[Any], read: Callable[[Any], Any], names: Sequence[str] | None, where: str
) -> Recording:
    """Source estimates, one a trial, as vertex × time targets; only one is in memory at a time.

    Parameters
    ----------
    sources : sequence
        Estimates, or what ``read`` makes one of.
    names : sequence of str, optional
        Name of the photograph of each.
    """
    first = read(sources[0])
    vertices = first.vertices if isinstance(first.vertices, list) else [first.vertices]
    sides = ["L", "R"] if len(vertices) == 2 else [""] * len(vertices)
    side = np.concatenate([[name] * len(part) for name, part in zip(sides, vertices, strict=True)])
    vertex = np.concatenate(vertices)
    label = np.array([f"{name}{number}" for name, number in zip(side, vertex, strict=True)], dtype=object)
    times = np.round(np.asarray(first.times, dtype=float), 9)
    row = np.repeat(np.arange(len(vertex)), len(times))
    targets = pd.DataFrame(
        {"sensor": label[row], "time": np.tile(times, len(vertex)), "hemisphere": side[row], "mesh_vertex": vertex[row]}
    )
    targets.attrs = {"file": where, "notes": []}
    trials = None
    if names is not None:
        trials = pd.DataFrame({"stimulus": list(names)})
        trials.attrs = {"file": where, "notes": []}
    shape = (len(sources), len(targets))
    blocks = functools.partial(_estimate_blocks, sources, read, vertex, times)
    return Recording(SpooledRows(shape, blocks, where), targets, trials, info={"file": where})


def _estimate_blocks(
    sources: Sequence[Any], read: Callable[[Any], Any], vertex: np.ndarray, times: np.ndarray
) -> Iterator[np.ndarray]:
    for number, source in enumerate(sources):
        estimate = read(source)
        parts = estimate.vertices if isinstance(estimate.vertices, list) else [estimate.vertices]
        data = np.asarray(estimate.data)
        if not np.array_equal(np.concatenate(parts), vertex) or not np.allclose(estimate.times, times, atol=1e-6):
            raise InputError(f"Source estimate {number} has other vertices or times than the first; make them equal.")
        if data.ndim != 2:
            raise InputError(f"Source estimate {number} has vectors; take their magnitude (stc.magnitude()) first.")
        yield data.reshape(1, -1)
