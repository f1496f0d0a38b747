"""The page of a run: what is stored is what was found, in a browser that clicks, at two widths."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from browser import Chromium
from made_up_results import make_results, make_study

from brainmap.common.errors import InputError
from brainmap.report import write_explorer
from brainmap.report.cortex.flat_meshes import flat_cortex, read_patch
from brainmap.report.cortex.values_on_mesh import cortex_of, load_cortex, nearest_targets, vertices_of
from brainmap.report.explore import payload as payloads
from brainmap.report.explore.packed_arrays import MISSING, STEP, Payload
from brainmap.report.explore.payload import Detail, Step, check_alike, explorer_payload, thinned
from brainmap.report.page.explorer_page import NIIVUE_VERSION
from brainmap.results import StudyResults

ASSETS = Path(payloads.__file__).parent / "assets"
READY = "document.documentElement.dataset.explorer === 'ready'"


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def numbers(payload: Payload, name: str, rows: int, step: float = STEP) -> np.ndarray:
    """Decode as the page does."""
    planes = np.frombuffer(unpacked(payload.blocks[name]), np.uint8).reshape(2, -1)
    values = (planes[0].astype(np.uint16) | planes[1].astype(np.uint16) << 8).reshape(rows, -1)
    steps = np.cumsum(values, axis=0, dtype=np.uint16).view(np.int16)
    return np.where(steps == MISSING, np.nan, steps * step)


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return make_results(every=6, n_sensors=60, n_subjects=2)


@pytest.fixture(scope="module")
def page(results: StudyResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_explorer(results, tmp_path_factory.mktemp("explore"))


def test_stored_numbers_are_the_scores_within_half_a_step(results: StudyResults) -> None:
    payload, detail = explorer_payload([Step(results)])
    assert detail == Detail()
    r = results.mean_r("fmri").mean("subject").sel(signal="gradient").values
    assert np.abs(numbers(payload, "r-gradient-0", 12) - r).max() <= STEP / 2 + 1e-6
    sem = results.mean_r("fmri").sel(signal="gradient").values.std(axis=0, ddof=1) / np.sqrt(2)
    assert np.abs(numbers(payload, "error-gradient-0", 12) - sem).max() <= STEP / 2 + 1e-6
    bits = np.unpackbits(np.frombuffer(unpacked(payload.blocks["above-gradient-0"]), np.uint8))[: r.size]
    marks = results.significance["fmri"].sel(signal="gradient").transpose("layer", "target").values
    np.testing.assert_array_equal(bits.reshape(r.shape), marks)
    curve = results.mean_r("meg").sel(signal="activation").mean("subject").groupby("time").mean().values
    assert np.abs(numbers(payload, "curve-activation-0", 12, 1e-4) - curve).max() <= 5e-5 + 1e-6
    json.dumps(payload.meta, allow_nan=False)


def test_numbers_survive_coding_missing_ones_too() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (5, 300))
    values[:, 7] = values[2, 9] = np.nan
    payload = Payload()
    payload.numbers("x", values)
    decoded = numbers(payload, "x", 5)
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(values))
    assert np.nanmax(np.abs(decoded - values)) <= STEP / 2 + 1e-12


def test_nothing_is_coloured_where_nothing_may_be_named() -> None:
    quiet = make_study("nothing significant")
    payload, _ = explorer_payload([Step(quiet)])
    n_targets = quiet.scores["fmri"].sizes["target"]
    assert payload.meta["cortex"]["signals"][0]["coloured"] == [{"best": 0, "layers": [0] * 12, "of": n_targets}]
    marks = quiet.significance["fmri"].copy()
    marks[:, :, :] = True  # each alone, and nothing after all corrections
    quiet.significance["fmri"] = marks.assign_coords(q=(marks.dims, np.ones(marks.shape)))
    payload, _ = explorer_payload([Step(quiet)])
    assert payload.meta["cortex"]["signals"][0]["coloured"][0]["best"] == 0
    assert not any(unpacked(payload.blocks["above-activation-0"]))
    del quiet.significance["fmri"]
    payload, _ = explorer_payload([Step(quiet)])
    assert (
        payload.meta["cortex"]["signals"][0]["coloured"][0]["best"] is None
        and "above-activation-0" not in payload.blocks
    )


def test_vertices_between_targets_show_the_nearest_of_their_area(results: StudyResults) -> None:
    targets = results.targets("fmri")
    cortex = cortex_of(targets)
    assert cortex is not None
    rows, vertices = vertices_of(targets, cortex)["L"]
    shown = nearest_targets(targets, cortex)["L"]
    np.testing.assert_array_equal(shown[vertices], rows)
    filled = np.flatnonzero(shown >= 0)
    own = targets["roi"].to_numpy()[shown[filled]]
    assert [cortex.names[number] for number in cortex.areas["L"][filled]] == own.tolist()
    assert len(filled) > 4 * len(rows)
    xyz = cortex.meshes["L"].coordinates
    away = np.linalg.norm(xyz[filled] - xyz[vertices[np.searchsorted(rows, shown[filled])]], axis=1)
    assert away.max() < 25 and np.median(away) < 6


def test_flat_surfaces_are_cortex_laid_out(tmp_path: Path) -> None:
    cortex = load_cortex()
    flat = flat_cortex(cortex)
    assert flat is not None
    for side, mesh in flat.meshes.items():
        corners = mesh.coordinates[mesh.faces]
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        assert (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0).all()
        whole = {tuple(face) for face in np.sort(cortex.meshes[side].faces, axis=1).tolist()}
        assert {tuple(face) for face in np.sort(mesh.faces, axis=1).tolist()} <= whole
    record = np.array([(1, (0.5, 1, 0)), (-3, (2, 3, 0))], dtype=[("v", ">i4"), ("p", ">f4", 3)])
    patch = tmp_path / "lh.cortex.patch.flat"
    patch.write_bytes(np.array([-1, 2], dtype=">i4").tobytes() + record.tobytes())
    vertices, places = read_patch(patch)
    assert vertices.tolist() == [0, 2] and places.tolist() == [[0.5, 1, 0], [2, 3, 0]]
    patch.write_bytes(patch.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"cortex.patch.flat is no patch of FreeSurfer's format, or is damaged"):
        read_patch(patch)


def test_patches_of_freesurfer_are_found_beside_the_surface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from report.test_template_meshes import icosphere, write_freesurfer

    monkeypatch.setenv("SUBJECTS_DIR", str(tmp_path))
    write_freesurfer(tmp_path, "fsaverage6", 6)
    xyz, _ = icosphere(6)
    upper = np.flatnonzero(xyz[:, 2] > 0)
    targets = pd.DataFrame({"roi": "cortex", "hemisphere": "L", "vertex": -1, "mesh": "fsaverage6"}, index=upper)
    cortex = cortex_of(targets.assign(mesh_vertex=upper))
    assert cortex is not None and flat_cortex(cortex) is None
    record = np.zeros(len(upper), dtype=[("v", ">i4"), ("p", ">f4", 3)])
    record["v"], record["p"][:, :2] = upper + 1, xyz[upper, :2]
    for side in ("lh", "rh"):
        file = tmp_path / "fsaverage6" / "surf" / f"{side}.cortex.patch.flat"
        file.write_bytes(np.array([-1, len(upper)], dtype=">i4").tobytes() + record.tobytes())
        assert nibabel.freesurfer.read_geometry(file.with_name(f"{side}.inflated"))[0].shape == xyz.shape
    from brainmap.report.cortex import flat_meshes

    flat_meshes._flat.cache_clear()
    flat = flat_cortex(cortex)
    assert flat is not None
    np.testing.assert_allclose(flat.meshes["L"].coordinates[upper, :2], xyz[upper, :2], atol=1e-4)
    assert set(np.unique(flat.meshes["L"].faces)) <= set(upper.tolist())


def test_large_pages_lose_intervals_first_and_say_so(
    results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = explorer_payload([Step(results)])[0].size
    monkeypatch.setattr(payloads, "MOST_BYTES", full - 1000)
    text = write_explorer(results, tmp_path / "small.html").read_text(encoding="utf-8")
    assert "Intervals of single vertices are left out to keep this page small" in text and "block-error-" not in text
    monkeypatch.setattr(payloads, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="explore one run at a time"):
        explorer_payload([Step(results)])
    assert [step.step for step in thinned([Step(results, number) for number in range(20)], 6)] == [0, 4, 8, 11, 15, 19]


def test_steps_belong_together_or_are_refused(results: StudyResults) -> None:
    later, earlier = Step(results, 900), Step(results, 0)
    assert [step.step for step in check_alike([later, earlier])] == [0, 900]
    payload, _ = explorer_payload([later, earlier], Detail(errors=False, flat=False, vertices=10_300))
    assert payload.meta["steps"] == [0, 900] and {"r-gradient-0", "r-gradient-1"} <= set(payload.blocks)
    other = StudyResults(results.provenance, {**results.scores, "fmri": results.scores["fmri"].isel(layer=slice(6))})
    for studies, words in (
        ([later, Step(results)], "training step of a run is not known"),
        ([later, Step(results, 900)], "occurs twice"),
        ([later, Step(other, 0)], "different layers"),
        ([], "no finished run"),
    ):
        with pytest.raises(InputError, match=words):
            check_alike(studies)


def test_studies_without_a_mesh_are_refused_in_a_sentence(results: StudyResults, tmp_path: Path) -> None:
    fmri = results.scores["fmri"].assign_coords(vertex=("target", np.full(results.scores["fmri"].sizes["target"], -1)))
    volume = StudyResults(results.provenance, {"fmri": fmri})
    with pytest.raises(
        InputError, match=r"nothing to explore: the fMRI targets are no vertices of a known mesh \(voxels"
    ):
        write_explorer(volume, tmp_path / "x.html")
    with_times = StudyResults(results.provenance, {"fmri": fmri, "meg": results.scores["meg"]})
    text = write_explorer(with_times, tmp_path / "x.html").read_text(encoding="utf-8")
    assert "No cortex: the fMRI targets are no vertices" in text and 'id="packed-niivue"' not in text


def test_the_viewer_is_the_published_file_with_its_licence() -> None:
    licence = (ASSETS / "niivue.LICENSE.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256((ASSETS / "niivue.umd.js").read_bytes()).hexdigest()
    assert digest in licence and f"@niivue/niivue {NIIVUE_VERSION}" in licence and "BSD 2-Clause" in licence


def test_one_offline_file_that_says_what_is_shown(page: Path, results: StudyResults) -> None:
    text = page.read_text(encoding="utf-8")
    assert page.name == "explore.html" and len(text) < 4e6
    words = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert "default-src 'none'" in words and "http" not in words.replace("http-equiv", "").replace("https://", "http")
    assert "2 simulated subjects (sim-01, sim-02)" in words and "off by at most 0.0005" in words
    assert write_explorer(results, page.with_name("again.html")).read_bytes() == page.read_bytes()


def opened(browser: Chromium, page: Path, width: int, fragment: str = "", height: int = 900) -> None:
    browser.open(page, width, height, fragment)
    until = time.monotonic() + 60
    while not browser.run(READY):
        assert time.monotonic() < until, browser.run("document.querySelector('#x-message').textContent")
        time.sleep(0.1)


CLICKS = """(async () => {
  const x = window.brainmap.explorer, cortex = x.cortex(), canvas = document.querySelector('#x-canvas');
  const part = cortex.sides.L, matrix = cortex.matrix(), box = canvas.getBoundingClientRect(), found = [];
  let seed = 7;
  for (let tries = 0; found.length < 60 && tries < 20000; tries += 1) {
    seed = (seed * 48271) % 2147483647;
    const v = seed % part.n;
    if (part.place[v] === 0) continue;
    const [px, py] = cortex.project('L', v, matrix);
    const seen = cortex.pick(px, py);
    if (!seen || seen.vertex !== v) continue;
    const at = { clientX: box.left + px, clientY: box.top + py, bubbles: true };
    canvas.dispatchEvent(new PointerEvent('pointerdown', at));
    canvas.dispatchEvent(new PointerEvent('pointerup', at));
    const title = document.querySelector('#x-where');
    const there = () => title.textContent.endsWith('vertex ' + v);
    for (let i = 0; i < 200 && !there(); i += 1) await new Promise(r => setTimeout(r, 5));
    await new Promise(r => setTimeout(r, 0));
    const rows = [...document.querySelectorAll('#x-numbers tr')].map(tr => [...tr.cells].map(c => c.textContent));
    found.push({ v, title: title.textContent, words: document.querySelector('#x-what').textContent, rows });
  }
  return found;
})()"""


EVERY_MAP = """(async () => {
  const x = window.brainmap.explorer, said = {};
  for (const map of [...document.querySelector('#x-map').options].map(option => option.value)) {
    await x.set({ map });
    said[map] = document.querySelector('#x-coloured').textContent + document.querySelector('#x-high').textContent;
  }
  await x.set({ view: 'whole' });
  return said;
})()"""


@pytest.mark.browser
def test_sixty_clicks_give_the_stored_numbers(page: Path, results: StudyResults, chromium_webgl: Chromium) -> None:
    opened(chromium_webgl, page, 1280, height=420)
    clicks = chromium_webgl.run(CLICKS)
    assert len({click["v"] for click in clicks}) >= 55 and len(clicks) == 60
    targets = results.targets("fmri")
    cortex = cortex_of(targets)
    assert cortex is not None
    shown, mean = nearest_targets(targets, cortex)["L"], results.mean_r("fmri").mean("subject")
    error = results.mean_r("fmri").std("subject", ddof=1) / np.sqrt(2)
    for click in clicks:
        target = shown[click["v"]]
        assert click["title"] == f"{targets['roi'].iloc[target]}, left: vertex {click['v']}"
        between = targets["vertex"].iloc[target] != click["v"]
        assert click["words"].startswith("Between measured vertices" if between else "Measured at this vertex")
        cells = np.array(
            [[float(cell.replace("−", "-")) for cell in (row[1], row[2], row[4], row[5])] for row in click["rows"][1:]]
        )
        for column, (values, signal) in enumerate(
            [(mean, "activation"), (error, "activation"), (mean, "gradient"), (error, "gradient")]
        ):
            assert (
                np.abs(cells[:, column] - values.sel(signal=signal).isel(target=target).values).max() <= STEP / 2 + 1e-6
            )
        marks = results.significance["fmri"].isel(target=target).sel(signal="activation").values
        assert [row[3] for row in click["rows"][1:]] == ["yes" if mark else "no" for mark in marks]
    assert chromium_webgl.problems() == []


@pytest.mark.browser
def test_addresses_keys_and_times_at_the_width_of_a_telephone(page: Path, chromium_webgl: Chromium) -> None:
    opened(chromium_webgl, page, 390, "#signal=gradient&map=layer&layer=4&view=flat&at=FFC&time=0.4&follow=0")
    state = "JSON.stringify(window.brainmap.explorer.state)"
    now = json.loads(chromium_webgl.run(state))
    assert (now["signal"], now["map"], now["layer"], now["view"], now["follow"]) == (
        "gradient",
        "layer",
        4,
        "flat",
        False,
    )
    assert chromium_webgl.run("document.querySelector('#x-where').textContent") == "FFC"
    assert chromium_webgl.run("document.querySelector('#x-time-name').textContent") == "400 ms"
    assert chromium_webgl.run("document.documentElement.scrollWidth") == 390 and chromium_webgl.problems() == []
    for key in ("ArrowRight", "s", "1", "."):
        for kind in ("keyDown", "keyUp"):
            chromium_webgl.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, text=key if len(key) == 1 else ""
            )
    chromium_webgl.run("window.brainmap.explorer.set({})")
    now = json.loads(chromium_webgl.run(state))
    assert (now["layer"], now["signal"], now["view"]) == (5, "activation", "lateral")
    assert chromium_webgl.run("document.querySelector('#x-time-name').textContent") == "450 ms"
    address = chromium_webgl.run("location.hash")
    assert "layer=5" in address and "view=lateral" in address and "at=FFC" in address
    follow = "document.querySelector('#x-follow').click(); const t = document.querySelector('#x-time'); t.value = 11;"
    chromium_webgl.run(follow + "t.dispatchEvent(new Event('input')); new Promise(r => setTimeout(r, 400))")
    said = chromium_webgl.run("document.querySelector('#x-moment').textContent")
    best = re.search(r"best layer above chance block (\d+)", said)
    assert best is not None and json.loads(chromium_webgl.run(state))["layer"] == int(best.group(1))
    said = chromium_webgl.run(EVERY_MAP)
    assert len(set(said.values())) == 5 and "5 of 51 areas" in said["gain"] and "perfect model" in said["ceiling"]
    assert chromium_webgl.problems() == []
