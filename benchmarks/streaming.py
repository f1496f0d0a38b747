"""Peak memory of preparing and streaming one subject at true size.

    python benchmarks/streaming.py nsd --sessions 4 --memory 2GB
    python benchmarks/streaming.py things-meg --memory 2GB

Files have their true formats, names and sizes but are sparse (zeros that take no room), but for what readers need to
find their way: headers, design, labels, clock and triggers. Every stage runs in a process of its own, and its peak
resident memory is compared with the bound.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.memory_sizes import parse_memory
from brainmap.data.column_files import DTYPE, ColumnFile, RowStack, stack_standardised
from brainmap.data.responses import Responses

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

N_VERTICES, N_GENERAL, N_PHOTOGRAPHS = 163842, 19000, 10000
MEG_SENSORS, MEG_RATE, MEG_SECONDS = 272, 1200, 348
EPOCH_TIMES, RUNS, TRIALS = 106, 120, 205


def sparse_columns(path: Path, shape: tuple[int, int]) -> ColumnFile:
    """Write the header of a prepared array and leave its content a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(DTYPE), "fortran_order": True, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + shape[0] * shape[1] * DTYPE.itemsize)
    return ColumnFile(path)


def write_sparse_nsd(root: Path, sessions: int) -> None:
    """Betas of both hemispheres as sparse ``.mgh`` files, nsdgeneral of a true size, design, photographs of 8 px."""
    import h5py
    import nibabel
    import scipy.io

    rng = np.random.default_rng(0)
    ordering = rng.permutation(np.repeat(np.arange(N_PHOTOGRAPHS), 3))
    images = np.stack([rng.permutation(73000)[:N_PHOTOGRAPHS] for _ in range(8)])
    for folder in ("experiments/nsd", "freesurfer/fsaverage/label"):
        (root / "nsddata" / folder).mkdir(parents=True)
    design = {"masterordering": ordering[None] + 1, "subjectim": images + 1, "sharedix": np.arange(1, 1001)[None]}
    scipy.io.savemat(root / "nsddata/experiments/nsd/nsd_expdesign.mat", design)
    betas = root / "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
    betas.mkdir(parents=True)
    for side in ("lh", "rh"):
        inside = np.zeros(N_VERTICES, dtype=np.float32)
        inside[rng.choice(N_VERTICES, N_GENERAL, replace=False)] = 1
        for name in ("nsdgeneral", "HCP_MMP1"):
            image = nibabel.MGHImage(inside.reshape(-1, 1, 1), np.eye(4))
            nibabel.save(image, root / f"nsddata/freesurfer/fsaverage/label/{side}.{name}.mgz")
        header = nibabel.MGHImage(np.zeros((N_VERTICES, 1, 1, 2), dtype=np.float32), np.eye(4)).header
        header.set_data_shape((N_VERTICES, 1, 1, 750))
        for session in range(1, sessions + 1):
            with (betas / f"{side}.betas_session{session:02d}.mgh").open("wb") as stream:
                header.writehdr_to(stream)
                stream.truncate(284 + N_VERTICES * 750 * 4)
    (root / "nsddata_stimuli/stimuli/nsd").mkdir(parents=True)
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = rng.integers(0, 256, (73000, 4, 4, 3), dtype=np.uint8)


def prepare_nsd(root: Path, memory: int, sessions: int) -> str:
    """Prepare sessions and stream means over the showings of each photograph, block of targets by block."""
    from brainmap.data.readers import open_dataset

    reader = open_dataset("nsd", root, options={"sessions": tuple(range(1, sessions + 1))}, memory=memory)
    stimuli = reader.stimuli(["1"])
    responses = reader.responses("1", stimuli)
    return f"{responses.n_trials:,} trials × {responses.n_targets:,} vertices prepared, {_streamed(responses)}"


def stream_nsd(root: Path, memory: int, sessions: int) -> str:
    """Stream all 40 sessions of prepared betas."""
    parts = [sparse_columns(root / f"part{n}.npy", (750, 2 * N_GENERAL)) for n in range(40)]
    responses = _responses(RowStack(parts), np.repeat(np.arange(N_PHOTOGRAPHS), 3), 2 * N_GENERAL)
    return f"{responses.n_trials:,} trials × {responses.n_targets:,} vertices, {_streamed(responses)}"


def prepare_meg(root: Path, memory: int, sessions: int) -> str:
    """Filter and epoch one recording of true size (272 sensors, 348 s at 1200 Hz)."""
    from brainmap.data.recordings.ctf import Recording
    from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks

    folder = _sparse_recording(root / "sub-BIGMEG1_ses-01_task-main_run-01_meg.ds")
    recording = Recording(folder)
    onsets = np.arange(2.0, MEG_SECONDS - 4, 1.5)
    channels = [recording.channel_of[name] for name in recording.sensors]
    blocks = epoch_blocks(recording.raw, channels, onsets, EpochSettings(), memory=memory)
    width = sum(block.shape[1] for block in blocks)
    return f"{len(onsets)} epochs × {width:,} targets of one recording, {len(recording.triggers())} triggers"


def stream_meg(root: Path, memory: int, sessions: int) -> str:
    """z-score 120 prepared runs by session and stream means over the showings of each photograph."""
    width = MEG_SENSORS * EPOCH_TIMES
    parts = [sparse_columns(root / f"run{n}.npy", (TRIALS, width)) for n in range(RUNS)]
    values = stack_standardised(parts, [n // 10 for n in range(RUNS)])
    n_trials = RUNS * TRIALS
    codes = np.concatenate([np.arange(n_trials - 12 * 200), np.tile(np.arange(200) + 10**6, 12)])
    responses = _responses(values, codes, width)
    return f"{n_trials:,} trials × {width:,} targets, {_streamed(responses)}"


def _sparse_recording(folder: Path) -> Path:
    from data.ctf_files import MEG, OTHER, REFERENCE, STIMULUS, _channels, _coils, _header

    folder.mkdir(parents=True)
    names = ["SCLK01-177", "BG1-1609", "UPPT001"] + [f"M{k:04d}-1609" for k in range(MEG_SENSORS)]
    names += [f"EEG{k:03d}" for k in range(35)]
    kinds = [OTHER, REFERENCE, STIMULUS] + [MEG] * MEG_SENSORS + [OTHER] * 35
    n_samples = MEG_RATE * MEG_SECONDS
    stem = folder.name.removesuffix(".ds")
    (folder / f"{stem}.res4").write_bytes(_header(n_samples, len(names), MEG_RATE) + _channels(names, kinds))
    (folder / f"{stem}.hc").write_text(_coils())
    trigger = np.zeros(n_samples, dtype=">i4")
    for onset in np.arange(2.0, MEG_SECONDS - 4, 1.5):
        trigger[int(onset * MEG_RATE) : int(onset * MEG_RATE) + 60] = 64
    with (folder / f"{stem}.meg4").open("wb") as stream:
        stream.write(b"MEG41CP\0")
        stream.write(np.arange(1, n_samples + 1, dtype=">i4").tobytes())  # the clock must run
        stream.seek(8 + 2 * 4 * n_samples)
        stream.write(trigger.tobytes())
        stream.truncate(8 + len(names) * 4 * n_samples)
    return folder


def _responses(values: RowStack, codes: np.ndarray, n_targets: int) -> Responses:
    trials = pd.DataFrame({"stimulus": [f"s{code:07d}" for code in codes]})
    targets = pd.DataFrame({"sensor": np.zeros(n_targets, dtype=int), "time": np.arange(n_targets)})
    return Responses(values, trials, targets, "meg", "1")


def _streamed(responses: Responses) -> str:
    """Read everything as encoding does: means over showings, block of targets by block of targets."""
    averaged = responses.average_repeats(memory=0)
    width = max(1, 64 * 2**20 // (8 * responses.n_trials))
    start = time.perf_counter()
    total = 0.0
    for first in range(0, responses.n_targets, width):
        total += float(averaged.block(targets=slice(first, first + width)).sum())
    seconds = time.perf_counter() - start
    size = 4e-9 * responses.n_trials * responses.n_targets
    return f"{size:.1f} GB streamed in {seconds:.0f} s ({len(averaged.trials):,} photographs, sum {total:g})"


STAGES: dict[str, list[Callable[[Path, int, int], str]]] = {
    "nsd": [prepare_nsd, stream_nsd],
    "things-meg": [prepare_meg, stream_meg],
}


def _measure(stage: Callable[..., str], folder: Path, memory: int, sessions: int, queue: Any) -> None:
    import mne  # noqa: F401  what imports cost is part of what a user sees
    import nibabel  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    text = stage(folder, memory, sessions)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put((text, before, peak, time.perf_counter() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=STAGES)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--sessions", type=int, default=3, help="sessions of NSD to prepare (each takes seconds)")
    parser.add_argument("--folder", type=Path, help="where to work (sparse files, and what is prepared)")
    given = parser.parse_args()
    memory = parse_memory(given.memory)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        if given.dataset == "nsd":
            write_sparse_nsd(Path(made) / "nsd", given.sessions)
        for stage in STAGES[given.dataset]:
            folder = Path(made) / ("nsd" if stage is prepare_nsd else stage.__name__)
            queue = context.Queue()
            process = context.Process(target=_measure, args=(stage, folder, memory, given.sessions, queue))
            process.start()
            text, before, peak, seconds = queue.get()
            process.join()
            verdict = "within" if peak * 2**20 <= memory else "ABOVE"
            print(f"{stage.__name__:<12} {text}")
            print(
                f"{'':<12} peak {peak:,.0f} MB (imports {before:,.0f} MB) in {seconds:.0f} s: {verdict} {given.memory}"
            )


if __name__ == "__main__":
    main()
