"""Hypotheses of a run: locked in its folder before anything is encoded, judged once, and shown to be unchanged."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.storage.digests import reading, sealed_folder
from brainmap.common.storage.locks import file_lock
from brainmap.common.versions import __version__
from brainmap.hierarchy import RegisteredHypotheses
from brainmap.results import nameable
from brainmap.results.study_results import StudyResults
from brainmap.study.run_folder import RunFolder

KIND = "registered hypotheses"
FILE, LOCK = "hypotheses.yaml", "lock.json"


def lock_hypotheses(folder: RunFolder, file: Path, settings: str) -> str:
    """Lock a file of hypotheses in a run's folder, word by word; a file that is locked there already stays.

    Parameters
    ----------
    folder : RunFolder
        The run.
    file : Path
        ``hypotheses.yaml``.
    settings : str
        Digest of the study's settings: they are locked, too.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    InputError
        If the file is wrong, or the run has locked another one.
    """
    registered = RegisteredHypotheses.from_yaml(file)
    with file_lock(folder.lock("hypotheses"), purpose=f"locks the hypotheses of {folder.path}"):
        if folder.hypotheses.is_dir():
            stored, lock = locked_hypotheses(folder)
            if stored.sha256 != registered.sha256:
                raise InputError(
                    f"{folder.path} has locked other hypotheses on {lock['locked']} (SHA-256 {stored.sha256[:12]}…, "
                    f"{file} has {registered.sha256[:12]}…); what was registered is not changed: choose another "
                    "folder with --out"
                )
            return stored.sha256
        before = sum(path.name[0] != "." for path in folder.path.glob("scores/*/*/*"))
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        lock = {"sha256": registered.sha256, "locked": now, "encoded_before": before, "settings": settings}
        with sealed_folder(folder.hypotheses, KIND) as partial:
            (partial / FILE).write_bytes(registered.text.encode())
            (partial / LOCK).write_text(json.dumps({**lock, "brainmap": __version__}, indent=1), encoding="utf-8")
    return registered.sha256


def locked_hypotheses(folder: RunFolder) -> tuple[RegisteredHypotheses, dict[str, Any]]:
    """Read what a run has locked.

    Raises
    ------
    DamagedError
        If the file or its lock are not what was written.
    """
    with reading(folder.hypotheses, KIND):
        lock = json.loads((folder.hypotheses / LOCK).read_text(encoding="utf-8"))
        registered = RegisteredHypotheses.from_text((folder.hypotheses / FILE).read_bytes().decode("utf-8"))
    return registered, lock


def judge_hypotheses(folder: RunFolder, results: StudyResults, settings: str | None = None) -> bool:
    """Judge the locked hypotheses by the results, if there are some and they are not judged yet.

    The table takes the place of that of Study A's hypotheses, and ``provenance["registered"]`` holds the lock.

    Returns
    -------
    bool
        Whether the results have changed.
    """
    from brainmap.hierarchy import evaluate_registered
    from brainmap.hierarchy.order_in_space import predicted_somewhere

    if not folder.hypotheses.is_dir():
        return False
    registered, lock = locked_hypotheses(folder)
    if results.provenance.get("registered", {}).get("sha256") == registered.sha256:
        return False
    scores: Mapping[str, xr.Dataset] = {name: results.scores[name] for name in results.modalities}
    chosen = results.provenance.get("config", {}).get("order_over") == "significant"
    signals = {name: [str(s) for s in results.scores[name]["signal"].values] for name in results.modalities}
    results.hypotheses = evaluate_registered(
        registered,
        scores,
        mask=predicted_somewhere(results.significance.get("fmri")) if chosen else {},
        predicting={m: [s for s in names if nameable.predicts(results, m, s)] for m, names in signals.items()},
    )
    results.provenance["registered"] = {
        "title": registered.title,
        "level": registered.level,
        "correction": registered.correction,
        "n": len(registered.hypotheses),
        **{name: lock[name] for name in ("sha256", "locked", "encoded_before")},
        "same_settings": settings is None or settings == lock["settings"],
        "judged": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return True
