"""``brainmap data check``: what a careful person looks at before believing a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainmap.common.blocks import read_block
from brainmap.common.errors import InputError
from brainmap.common.random_purposes import CHOSEN_TARGETS
from brainmap.common.tables import spreadsheet_safe
from brainmap.data.missing_values import FilledFromRepeats
from brainmap.data.session_consistency import Consistency, session_consistency
from brainmap.results.recording_quality import Quality

if TYPE_CHECKING:
    from brainmap.data import Responses


BLOCK = 32 * 2**20
CEILING_TARGETS = 2000


def examine_responses(responses: Responses, *, seed: int = 0) -> Quality:
    """Go through the responses of one subject once, block by block.

    Parameters
    ----------
    responses : Responses
        Single trials.
    seed : int
        Choice of targets for the ceiling where there are very many.
    """
    trials = responses.trials
    by = [column for column in ("session", "run") if column in trials]
    counts = trials.groupby(by, sort=False).size().rename("trials").reset_index() if by else pd.DataFrame()
    repeats = trials["stimulus"].value_counts().value_counts().sort_index()
    mean, deviation = _moments(responses)
    notes = _findings(responses)
    try:
        consistency: Consistency | None = session_consistency(responses)
    except InputError as error:
        consistency = None
        notes.append(f"repeats could not be compared across sessions: {error}")
    ceiling, chosen, source = _ceiling(responses, seed)
    return Quality(responses, counts, repeats, mean, deviation, ceiling, chosen, source, consistency, notes)


def _moments(responses: Responses) -> tuple[np.ndarray, np.ndarray]:
    mean = np.empty(responses.n_targets)
    deviation = np.empty(responses.n_targets)
    width = max(1, BLOCK // (8 * max(1, responses.n_trials)))
    for start in range(0, responses.n_targets, width):
        columns = slice(start, min(start + width, responses.n_targets))
        block = np.asarray(read_block(responses.values, None, columns), dtype=np.float64)
        mean[columns], deviation[columns] = block.mean(axis=0), block.std(axis=0)
    return mean, deviation


def _ceiling(responses: Responses, seed: int) -> tuple[np.ndarray | None, np.ndarray, str]:
    from brainmap.statistics.noise_ceiling import ceiling_from_ncsnr, explainable_variance

    everything = np.arange(responses.n_targets)
    counts = responses.trials["stimulus"].value_counts().to_numpy()
    published = responses.targets.get("ncsnr")
    if published is not None and np.isfinite(published).all():
        return ceiling_from_ncsnr(published.to_numpy(dtype=float), counts).r, everything, "published ncsnr"
    if (counts > 1).sum() < 2:
        return None, everything, ""
    chosen = everything
    if responses.modality == "fmri" and len(everything) > CEILING_TARGETS:
        chosen = np.sort(
            np.random.default_rng([seed, CHOSEN_TARGETS]).choice(everything, CEILING_TARGETS, replace=False)
        )
    elif len(everything) > CEILING_TARGETS:  # whole sensors, so that the curve over time stays a mean over sensors
        sensors = responses.targets["sensor"].drop_duplicates().to_numpy()
        times = len(everything) // len(sensors)
        kept = sensors[:: max(1, len(sensors) * times // (10 * CEILING_TARGETS))]
        chosen = np.flatnonzero(responses.targets["sensor"].isin(kept))
    stimulus = responses.trials["stimulus"].to_numpy()
    repeated = np.isin(stimulus, pd.Series(stimulus).value_counts().loc[lambda n: n > 1].index)
    values = responses.block(np.flatnonzero(repeated), chosen)
    if responses.info.get("missing"):
        values = FilledFromRepeats(values, stimulus[repeated])[:]
    return (
        explainable_variance(values, stimulus[repeated]).r,
        chosen,
        "explainable variance of the repeated photographs",
    )


def _findings(responses: Responses) -> list[str]:
    findings = responses.info.get("findings") or {}
    items = findings.get("items", [])
    lines = [
        f"{item['file']}{'' if item['row'] is None else ', row ' + str(item['row'])}: {item['what']} ({item['done']})"
        for item in items[:20]
    ]
    more = int(findings.get("n", 0)) - len(lines)
    return [*lines, f"and {more} more findings"] if more > 0 else lines


def check_dataset(
    name: str, subject: str, out: Path, *, data_root: Path | None, stimuli: Path | None, options: dict[str, object]
) -> tuple[list[str], list[Path]]:
    """Read one subject, draw its quality figures, and say what they show.

    Parameters
    ----------
    name, subject : str
        Dataset and subject.
    out : Path
        Folder for figure and tables.
    data_root, stimuli : Path, optional
        Where the data and the photographs are.
    options : dict
        Settings of the reader.

    Returns
    -------
    sentences : list of str
    files : list of Path
    """
    from brainmap.data.readers import open_dataset
    from brainmap.report.figures.recording_figure import draw_quality

    reader = open_dataset(name, data_root, stimuli=stimuli, options=options)
    known = reader.resolve(subject)
    photographs = reader.stimuli([known])
    quality = examine_responses(reader.responses(known, photographs))
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"{name}-{known}"
    figure = Path(f"{stem}-quality.png")
    draw_quality(quality, title=f"{name}, subject {known}").savefig(figure, dpi=150)
    files = [figure]
    tables = {
        "trials": quality.trials,
        "repeats": quality.repeats.rename_axis("showings").reset_index(name="photographs"),
    }
    if quality.consistency is not None:
        tables["sessions"] = quality.consistency.table
    sentences = quality.sentences()
    tested = reader.test_images(photographs)
    if tested is not None:
        sentences.append(f"{int(tested.sum())} of {len(tested)} photographs are the dataset's own test (--split test)")
    try:
        tables["nuisance"] = reader.nuisance(known)
        named = ", ".join(map(str, tables["nuisance"].columns))
        sentences.append(f"nuisance variables of {len(tables['nuisance'])} recorded trials: {named}")
    except InputError as error:
        sentences.append(f"nuisance variables: {error}")
    for what, table in tables.items():
        files.append(Path(f"{stem}-{what}.tsv"))
        spreadsheet_safe(table).to_csv(files[-1], sep="\t", index=False)
    return sentences, [*files, *_ceiling_map(quality, stem)]


def _ceiling_map(quality: Quality, stem: Path) -> list[Path]:
    """Write the ceiling of every vertex as GIFTI, where targets lie on a mesh."""
    from brainmap.data.exported_maps import write_gifti
    from brainmap.data.meshes import MESH_VERTICES

    responses = quality.responses
    mesh = str(responses.info.get("mesh", ""))
    whole = quality.ceiling is not None and len(quality.ceiling_targets) == responses.n_targets
    if responses.modality != "fmri" or mesh not in MESH_VERTICES or not whole or quality.ceiling is None:
        return []
    return write_gifti({"noise ceiling of r": quality.ceiling}, responses.targets, f"{stem}-ceiling", mesh=mesh)
