"""Single-trial responses from BOLD time series: one regressor a trial (nilearn's GLM), or the signal at a delay."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError

VOXELS = 20000  # fitted at once
RESPONSE = 32.0  # s after which a haemodynamic response is over
MEAN_OVER_NOISE = 2.0


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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*null duration")  # impulses are meant
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


def recorded_share(trials: pd.DataFrame, scan_times: np.ndarray, *, hrf: str = "glover") -> np.ndarray:
    """Share of each trial's modelled response (sum of squares) that falls into the scans, (n,).

    A trial at the end of a run has little of its response in it, one long before its start none: its amplitude would be
    noise.

    Parameters
    ----------
    trials : pandas.DataFrame
        ``onset`` and ``duration`` in s.
    scan_times : numpy.ndarray of float, (n_scans,)
        In s.
    hrf : str
        Haemodynamic response model of nilearn.
    """
    from nilearn.glm.first_level import compute_regressor

    share = np.ones(len(trials))
    step = float(np.median(np.diff(scan_times)))
    for place, (onset, duration) in enumerate(trials[["onset", "duration"]].to_numpy(dtype=float)):
        last = onset + duration + RESPONSE
        if onset >= scan_times[0] and last <= scan_times[-1]:
            continue
        if last <= scan_times[0] or onset >= scan_times[-1]:
            share[place] = 0.0
            continue
        before = np.arange(scan_times[0] - step, min(onset, scan_times[0]) - step, -step)[::-1]
        after = np.arange(scan_times[-1] + step, max(last, scan_times[-1]) + step, step)
        times = np.concatenate([before, scan_times, after])
        column = compute_regressor(np.array([[onset], [duration], [1.0]]), hrf, times, min_onset=-RESPONSE)[0][:, 0]
        inside = column[len(before) : len(before) + len(scan_times)]
        share[place] = float((inside**2).sum() / max((column**2).sum(), np.finfo(float).tiny))
    return share


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
        Scaled by :func:`positive_scale`; NaN where the voxel's series has a NaN or an infinite value.

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
        known = np.isfinite(block).all(axis=0)
        amplitudes = np.full((n_trials, block.shape[1]), np.nan, dtype=np.float32)
        if known.any():
            block = block[:, known]
            labels, results = run_glm((block - block.mean(axis=0)) / positive_scale(block), design, noise_model="ols")
            amplitudes[:, known] = results[labels[0]].theta[:n_trials]
        yield amplitudes


def positive_scale(block: np.ndarray) -> np.ndarray:
    """What one per cent of a voxel's signal is: of its mean, or of its noise where the mean says nothing, (k,).

    Denoised and demeaned series have means near 0 of either sign: divided by those, amplitudes change sign and size.
    The scale is therefore the mean or twice the standard deviation over scans, whichever is larger.
    """
    scale = np.maximum(block.mean(axis=0), MEAN_OVER_NOISE * block.std(axis=0)) / 100
    positive: np.ndarray = np.where(scale > 0, scale, 1.0)
    return positive


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
        In % of the voxel's mean (:func:`positive_scale`); NaN where the voxel's series has a NaN or an infinite value,
        and at times before the first or after the last scan.
    """
    n_scans = len(scan_times)
    span = scan_times[-1] - scan_times[0]
    order = int(np.floor(2 * span * high_pass))
    phase = (np.arange(n_scans) + 0.5) / n_scans
    drift = np.stack([np.cos(np.pi * k * phase) for k in range(order + 1)], axis=1)
    wanted = onsets + delay
    outside = (wanted < scan_times[0]) | (wanted > scan_times[-1])
    right = np.clip(np.searchsorted(scan_times, wanted), 1, n_scans - 1)
    weight = ((wanted - scan_times[right - 1]) / (scan_times[right] - scan_times[right - 1]))[:, None]
    for start in range(0, series.shape[1], VOXELS):
        block = np.asarray(series[:, start : start + VOXELS], dtype=np.float64)
        known = np.isfinite(block).all(axis=0)
        block = np.where(known, block, 0.0)
        slow = drift @ np.linalg.lstsq(drift, block, rcond=None)[0]
        clean = (block - slow) / positive_scale(block)
        signal = clean[right - 1] * (1 - weight) + clean[right] * weight
        signal[outside] = np.nan
        signal[:, ~known] = np.nan
        yield signal.astype(np.float32)
