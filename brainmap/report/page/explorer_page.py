"""The page of one run: offline, at the resolution it was measured."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES
from brainmap.common.storage.files import write_atomically
from brainmap.data.meshes import MESH_VERTICES
from brainmap.report.cortex.template_meshes import where_to_put
from brainmap.report.cortex.values_on_mesh import cortex_of
from brainmap.report.explore.packed_arrays import STEP, Payload, pack_bytes
from brainmap.report.explore.payload import Detail, Step, check_alike, explorer_payload, same_layers
from brainmap.report.page.page_parts import asset, templates
from brainmap.report.panels.panel import above_chance_words
from brainmap.report.words import methods
from brainmap.report.words.answer import plain_answer
from brainmap.results.study_results import StudyResults

NIIVUE_VERSION = "0.69.0"
PAGE = "explore.html"
SCRIPTS = ("explore_arrays.js", "explore_cortex.js", "explore_charts.js", "explore.js")
KEYS = (
    ("← →", "layer"),
    ("[ ]", "training step, where there are several"),
    (", .", "time, where there are sensors"),
    ("s", "the other signal"),
    ("m", "the next map"),
    ("1 … 7", "views: lateral, medial, ventral, dorsal, posterior, whole, flat"),
    ("a d w x", "turn the cortex"),
    ("+ −", "nearer, farther (also Ctrl and the wheel)"),
    ("Esc", "let go of the place"),
)


def write_explorer(studies: StudyResults | Sequence[Step], path: str | Path) -> Path:
    """Write the page in which a run is explored: turn the cortex, click a place, move through layers and time.

    Parameters
    ----------
    studies : StudyResults or sequence of Step
        A study, or one at several training steps.
    path : str or Path
        The HTML file, or a folder that gets ``explore.html``.

    Returns
    -------
    Path
        The file, at most 20 MB. It loads nothing from the network.

    Raises
    ------
    InputError
        If nothing of the study has a place on a mesh or in time, or studies do not belong together.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report import write_explorer
    >>> write_explorer(brainmap.open_run("brainmap_runs/meg"), "explore.html").name
    'explore.html'
    """
    every = check_alike([Step(studies)] if isinstance(studies, StudyResults) else studies)
    for study in every:
        study.results.check()
    path = Path(path)
    if path.is_dir() or not path.suffix:
        path = path / PAGE
    write_atomically(path, render_explorer(every))
    return path


def render_explorer(studies: Sequence[Step]) -> str:
    """Return the page as HTML text."""
    results = studies[-1].results  # the end of training is what words are about
    absent = not_drawn(results)
    if absent and results.timed is None:
        raise InputError(f"there is nothing to explore: {absent}")
    payload, detail = explorer_payload(studies)
    return (
        templates(trim=True)
        .get_template("explore.html.j2")
        .render(
            title=methods.report_title(results),
            simulated=results.simulated,
            answer=plain_answer(results),
            shown=shown_words(results, payload, detail, absent),
            keys=KEYS,
            methods=methods.methods_paragraph(results),
            provenance=methods.provenance_rows(results),
            css=asset("report.css") + asset("explore.css"),
            common=asset("common.js"),
            own_page=True,
            niivue_version=NIIVUE_VERSION,
            **embedded(payload),
        )
    )


def embedded(payload: Payload) -> dict[str, Any]:
    """Return what the templates of the explorer need, in a page of its own or in a report."""
    return {
        "meta": payload.meta,
        "packed_meta": pack_bytes(json.dumps(payload.meta, allow_nan=False).encode()),
        "blocks": payload.blocks,
        "niivue": niivue_source() if payload.meta["cortex"] else "",
        "explorer_script": "\n".join(asset(name) for name in SCRIPTS),
    }


@functools.cache
def niivue_source() -> str:
    """Return the viewer's JavaScript, packed."""
    return pack_bytes(resources.files("brainmap.report.explore").joinpath("assets", "niivue.umd.js").read_bytes())


def not_drawn(results: StudyResults) -> str:
    """Return why there is no cortex on the page and what would bring it, empty where there is one."""
    if "fmri" not in results.modalities:
        return "this run has no fMRI, and no cortex to turn"
    targets = results.targets("fmri")
    if cortex_of(targets) is not None:
        return ""
    meshes = sorted(set(targets["mesh"].astype(str)) & set(MESH_VERTICES)) if "mesh" in targets else []
    if meshes:
        return f"the mesh {meshes[0]} of the fMRI targets was not found; {where_to_put(meshes[0])}"
    return (
        "the fMRI targets are no vertices of a known mesh (voxels of a volume, for instance); project the responses "
        "to fsaverage or fsLR before the study (mri_vol2surf, wb_command), or look at the maps of its report"
    )


def shown_words(results: StudyResults, payload: Payload, detail: Detail, absent: str) -> list[str]:
    """Return what the page shows, of whom, in which steps, and what was left out to keep it small."""
    kind = "simulated " if results.simulated else ""
    words = []
    for modality in results.modalities:
        names = [str(name) for name in results.scores[modality]["subject"].values]
        n, splits = len(names), results.scores[modality].sizes["split"]
        listed = f" ({', '.join(names[:8])}{' …' if n > 8 else ''})"
        words.append(
            f"{MODALITY_NAMES[modality]}: r between predicted and held-out response, mean over {splits} splits and "
            f"{n} {kind}subject{'s' if n > 1 else ''}{listed}."
        )
        if made := above_chance_words(results, modality):
            words.append(f"{MODALITY_NAMES[modality]}: only what is above chance is coloured. {made}")
    cortex: Mapping[str, Any] | None = payload.meta["cortex"]
    if cortex is not None:
        words += _cortex_words(results, cortex, detail)
    elif "fmri" in results.modalities:
        words.append(f"No cortex: {absent}.")
    if results.timed is not None and not same_layers(results):
        timed = MODALITY_NAMES[results.timed]
        words.append(
            f"{timed} has other layers than fMRI and is not linked to the cortex: its curves are in the report."
        )
    steps = payload.meta["steps"]
    if steps:
        words.append(
            f"{len(steps)} training steps ({steps[0]:,} to {steps[-1]:,}). What is written above, and what gradients "
            "add, is of the last one."
        )
    words.append(
        f"Numbers of vertices and sensors are stored in steps of {STEP:g} and are off by at most {STEP / 2:g}; means "
        "over sensors and over areas in steps of 0.0001. The address of this page holds what is chosen: copy it to "
        "come back."
    )
    return words


def _cortex_words(results: StudyResults, cortex: Mapping[str, Any], detail: Detail) -> list[str]:
    targets = results.targets("fmri")
    measured = str(targets["mesh"].iloc[0]) if "mesh" in targets and targets["mesh"].nunique() == 1 else cortex["mesh"]
    words = f"{cortex['places']:,} of {len(targets):,} fMRI targets are drawn on {cortex['mesh']}, inflated"
    missing = "." if cortex["merged"] else f"; of {cortex['mesh']} no flat surface is at hand."
    words += " and flat." if cortex["flat"] else missing
    if measured != cortex["mesh"] and measured in MESH_VERTICES:
        words += f" They were measured on {measured}; to draw all, {where_to_put(measured)}."
    said = [words]
    if cortex["merged"]:
        said.append("Near vertices are merged, and their scores averaged, to keep this page small.")
    if not detail.errors:
        said.append("Intervals of single vertices are left out to keep this page small; areas have theirs.")
    if cortex["errorOver"] == "splits":
        said.append("Intervals are over the splits of one subject, whose training data overlap: they are too narrow.")
    if detail.steps is not None:
        said.append(f"At most {detail.steps} training steps are kept, the first and the last among them.")
    said.append(f"Outlines: {', '.join(cortex['outlined'])}, where the atlas has them.")
    return said
