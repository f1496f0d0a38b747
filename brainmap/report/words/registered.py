"""What the report says above the table of hypotheses: whose they are, when they were locked, that they are the same."""

from __future__ import annotations

from typing import Any

from brainmap.results.study_results import StudyResults

STUDY_A = (
    "Three hypotheses about gradients in the brain",
    "After Raugel et al. 2026. Effect with its interval; a verdict may be that the data do not decide.",
)
VERDICTS = (
    "Confirmed, refuted: an effect of the predicted or the other sign. Equivalent: nothing as large as the smallest "
    "effect of interest."
)
CORRECTIONS = {
    "bonferroni": "Bonferroni's correction over all {n} hypotheses at level {level}",
    "holm": "Holm's correction over both claims of all {n} hypotheses at level {level}",
    "fdr": "false discovery rate of {level} over both claims of all {n} hypotheses",
}


def words(results: StudyResults) -> tuple[str, str]:
    """Return title and lead of the table of hypotheses.

    Registered ones are called so only where nothing had been encoded before they were locked.
    """
    lock: dict[str, Any] | None = results.provenance.get("registered")
    if lock is None:
        return STUDY_A
    before = int(lock["encoded_before"])
    when = str(lock["locked"]).replace("T", " ").replace("+00:00", " UTC")
    if before:
        title = "Hypotheses locked after scores were there"
        locked = f"Locked on {when}, when {before} parts were encoded already: these hypotheses are no registration."
    else:
        title = "Registered hypotheses"
        locked = f"Locked on {when}, before anything was encoded."
    if lock["same_settings"]:
        kept = f"File and settings are those of the lock; SHA-256 of the file: {lock['sha256']}."
    else:
        kept = f"The settings of the study are not those of the lock; SHA-256 of the file: {lock['sha256']}."
    level = f"{float(lock['level']):g}".removeprefix("0")
    how = CORRECTIONS[lock["correction"]].format(n=lock["n"], level=level)
    title = f"{title}: {lock['title']}" if lock.get("title") else title
    return title, f"{locked} {kept} {how[0].upper()}{how[1:]}. {VERDICTS}"
