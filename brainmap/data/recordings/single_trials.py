"""Single-trial responses from BOLD time series: one regressor a trial (nilearn's GLM), or the signal at a delay."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError

VOXELS = 20000  # fitted at once


def trial_design(
    trials: pd.DataFrame,
    others: pd.DataFrame,
    scan_times: np.ndarray,
    *,
    hrf: str = "glover",
    high_pass: float = 0.01,
    confounds: pd.DataFrame | None = None,
) -> np.ndarray:
    """Design matrix with one column per trial, then other events, drift (cosines), confounds and a constant.

    Parameters
    ----------
    trials, others : pandas.DataFrame
        ``onset`` and ``duration`` in s of the trials wanted, and of other events, whose responses are taken out.
    scan_times : numpy.ndarray of float, (n_scans,)
        In s.
    hrf : str
        Haemodynamic response model of nilearn.
    high_pass : float
        Slowest frequency kept, in Hz.
    confounds : DataFrame, optional
        One row per scan.

    Returns
    -------
    numpy.ndarray of float, (n_scans, n_trials + k)
    """
    from nilearn.glm.first_level import make_first_level_design_matrix

    shown = pd.concat([trials[["onset", "duration"]], others[["onset", "duration"]]], ignore_index=True)
    everything = [f"trial_{number:05d}" for number in range(len(shown))]
    names = everything[: len(trials)]
    events = shown.astype(float).assign(trial_type=everything)
    matrix = make_first_level_design_matrix(
        scan_times,
        events,
        hrf_model=hrf,
        drift_model="cosine",
        high_pass=high_pass,
        add_regs=None if confounds is None else confounds.to_numpy(dtype=float),
        add_reg_names=None if confounds is None else [str(name) for name in confounds.columns],
    )
    rest = [column for column in matrix if column not in set(names)]
    design: np.ndarray = matrix[[*names, *rest]].to_numpy(dtype=float)
    return design


def single_trial_betas(series: np.ndarray, design: np.ndarray, n_trials: int) -> Iterator[np.ndarray]:
    """Least-squares amplitude of each trial in % of the voxel's mean, a few thousand voxels at a time.

    Parameters
    ----------
    series : numpy.ndarray, (n_scans, n_voxels)
        BOLD signal.
    design : numpy.ndarray, (n_scans, n_columns)
        From :func:`trial_design`.
    n_trials : int
        Its first columns.

    Yields
    ------
    numpy.ndarray of float32, (n_trials, k)

    Raises
    ------
    InputError
        If there are fewer scans than columns.
    """
    from nilearn.glm.first_level import run_glm

    if design.shape[0] <= design.shape[1]:
        raise InputError(
            f"{n_trials} trials cannot be estimated from {design.shape[0]} scans one by one; "
            "use the signal at a delay: --set estimate=bold"
        )
    for start in range(0, series.shape[1], VOXELS):
        block = np.asarray(series[:, start : start + VOXELS], dtype=np.float64)
        mean = block.mean(axis=0)
        scaled = 100 * (block / np.where(mean != 0, mean, 1.0) - (mean != 0))
        labels, results = run_glm(scaled, design, noise_model="ols")
        yield results[labels[0]].theta[:n_trials].astype(np.float32)


def signal_at_delay(
    series: np.ndarray, onsets: np.ndarray, scan_times: np.ndarray, *, delay: float = 5.5, high_pass: float = 0.01
) -> Iterator[np.ndarray]:
    """BOLD signal some seconds after each onset, without a model, after removing slow drifts.

    Parameters
    ----------
    series : numpy.ndarray, (n_scans, n_voxels)
        BOLD signal.
    onsets, scan_times : numpy.ndarray of float
        In s.
    delay : float
        Seconds after onset; the signal between scans is interpolated linearly.
    high_pass : float
        Slowest frequency kept, in Hz.

    Yields
    ------
    numpy.ndarray of float32, (n_trials, k)
        In % of the voxel's mean; NaN-free: times after the last scan take its value.
    """
    n_scans = len(scan_times)
    span = scan_times[-1] - scan_times[0]
    order = int(np.floor(2 * span * high_pass))
    phase = (np.arange(n_scans) + 0.5) / n_scans
    drift = np.stack([np.cos(np.pi * k * phase) for k in range(order + 1)], axis=1)
    wanted = np.clip(onsets + delay, scan_times[0], scan_times[-1])
    right = np.clip(np.searchsorted(scan_times, wanted), 1, n_scans - 1)
    weight = (wanted - scan_times[right - 1]) / (scan_times[right] - scan_times[right - 1])
    for start in range(0, series.shape[1], VOXELS):
        block = np.asarray(series[:, start : start + VOXELS], dtype=np.float64)
        mean = block.mean(axis=0)
        slow = drift @ np.linalg.lstsq(drift, block, rcond=None)[0]
        clean = 100 * (block - slow) / np.where(mean != 0, mean, 1.0)
        yield (clean[right - 1] * (1 - weight[:, None]) + clean[right] * weight[:, None]).astype(np.float32)
