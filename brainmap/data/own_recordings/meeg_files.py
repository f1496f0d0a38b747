"""Files of MEG, EEG and iEEG that MNE reads: epochs, evoked responses, continuous recordings, source estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.data.own_recordings.meeg_objects import (
    epochs_recording,
    estimates_recording,
    evoked_recording,
    raw_recording,
)
from brainmap.data.own_recordings.reading_options import ReadingOptions
from brainmap.data.own_recordings.recording import Recording
from brainmap.stimuli import StimulusSet


def read_meeg(path: Path, trials: pd.DataFrame | None, stimuli: StimulusSet, options: ReadingOptions) -> Recording:
    """Open a file through MNE; epochs are not loaded, continuous recordings are cut into some.

    Raises
    ------
    InputError
        With MNE's own reason, if the file is damaged or of another kind.
    """
    with reading(path):
        try:
            return _opened(path, trials, stimuli, options)
        except ImportError as error:
            raise _lacks_package(path, error) from error
        except (ValueError, RuntimeError, TypeError, KeyError, NotImplementedError, EOFError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"{path} cannot be read by MNE ({reason}); it may be cut short or of another kind."
            ) from error


def _lacks_package(path: Path, error: ImportError) -> InputError:
    """Sentence about a package that MNE needs for some formats (HDF5 and MATLAB 7.3 among them)."""
    package = error.name or "another package"
    return InputError(f"Reading {path} needs {package}; install what MNE needs with: pip install brainmap[meeg]")


def _opened(path: Path, trials: pd.DataFrame | None, stimuli: StimulusSet, options: ReadingOptions) -> Recording:
    import mne

    name = path.name.casefold()
    if name.endswith((".stc", "-stc.h5")):
        return read_estimates([path])
    if name.endswith((".fif", ".fif.gz")):
        kind = mne.what(path)
        if kind == "epochs":
            return epochs_recording(mne.read_epochs(path, preload=False, verbose="error"), path.name, options)
        if kind == "evoked":
            return evoked_recording(mne.read_evokeds(path, verbose="error"), path.name, options)
        if kind != "raw":
            raise InputError(f"{path} holds {kind}; responses are epochs, evoked responses or a continuous recording.")
    if name.endswith(".set") and is_epoched_set(path):
        return epochs_recording(mne.read_epochs_eeglab(path, verbose="error"), path.name, options)
    raw = mne.io.read_raw(path, preload=False, verbose="error")
    return raw_recording(raw, trials, stimuli, options, path.name)


def is_epoched_set(path: Path) -> bool:
    """Whether an EEGLAB file holds epochs; MNE's two readers refuse each other's files."""
    import mne

    try:
        mne.io.read_raw_eeglab(path, preload=False, verbose="error")
    except (TypeError, ValueError) as error:
        if "epochs" in str(error):
            return True
        raise
    return False


def read_estimates(paths: list[Path]) -> Recording:
    """Open source estimates, one file (or pair ``…-lh.stc``, ``…-rh.stc``) a trial, named by its photograph."""
    import mne

    names: dict[str, Path] = {}
    for path in paths:
        label = path.name
        for ending in ("-lh.stc", "-rh.stc", "-stc.h5", ".stc"):
            if label.endswith(ending):
                label = label.removesuffix(ending)
                break
        names.setdefault(label, path)

    def read(path: Path) -> Any:
        with reading(path):
            try:
                return mne.read_source_estimate(path)
            except ImportError as error:
                raise _lacks_package(path, error) from error
            except (ValueError, RuntimeError, KeyError, EOFError) as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise InputError(f"{path} cannot be read by MNE ({reason}); it may be cut short.") from error

    stems = list(names.values())
    where = paths[0].parent.name if len(stems) > 1 else paths[0].name
    return estimates_recording(stems, read, list(names), where)
