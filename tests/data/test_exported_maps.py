from __future__ import annotations

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.data.atlas import cortical_targets
from brainmap.data.exported_maps import write_cifti, write_evoked, write_gifti, write_volume
from brainmap.data.sensor_layout import load_sensors


@pytest.fixture(scope="module")
def targets() -> pd.DataFrame:
    return cortical_targets(["V1", "MT"], hemispheres=("L", "R"), every=7)


def test_gifti_maps_read_back_on_their_vertices(targets, tmp_path):
    maps = {"r": np.arange(len(targets), dtype=float), "depth": np.ones(len(targets))}
    left, right = write_gifti(maps, targets, tmp_path / "maps/scores")
    for side, path in (("L", left), ("R", right)):
        image = nibabel.load(path)
        mine = targets["hemisphere"] == side
        assert image.darrays[0].data.shape == (32492,) and image.meta["AnatomicalStructurePrimary"].startswith("Cortex")
        assert np.array_equal(image.darrays[0].data[targets.loc[mine, "vertex"]], maps["r"][mine])
        assert np.isnan(image.darrays[1].data).sum() == 32492 - mine.sum()
        assert image.darrays[1].meta["Name"] == "depth"


def test_fsaverage_maps_use_the_mesh_vertex(tmp_path):
    targets = pd.DataFrame({"hemisphere": ["L", "L"], "vertex": [-1, -1], "mesh_vertex": [5, 163841]})
    [left] = write_gifti({"r": np.array([1.0, 2.0])}, targets, tmp_path / "x", mesh="fsaverage")
    assert nibabel.load(left).darrays[0].data[[5, 163841]].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="Vertex 163841 is not on fsLR-32k"):
        write_gifti({"r": np.array([1.0, 2.0])}, targets, tmp_path / "x")


def test_cifti_maps_read_back_with_their_structures(targets, tmp_path):
    shuffled = targets.sample(frac=1, random_state=0).reset_index(drop=True)
    values = np.random.default_rng(0).standard_normal(len(shuffled))
    image = nibabel.load(write_cifti({"r": values}, shuffled, tmp_path / "r.dscalar.nii"))
    assert image.header.get_axis(0).name.tolist() == ["r"]
    found = {}
    for name, rows, model in image.header.get_axis(1).iter_structures():
        side = "L" if name.endswith("LEFT") else "R"
        found |= {(side, v): x for v, x in zip(model.vertex, image.get_fdata()[0, rows], strict=True)}
    expected = {(h, v): x for h, v, x in zip(shuffled["hemisphere"], shuffled["vertex"], values, strict=True)}
    assert found.keys() == expected.keys() and all(abs(found[key] - expected[key]) < 1e-6 for key in expected)
    with pytest.raises(InputError, match=r"ends in \.dscalar\.nii"):
        write_cifti({"r": values}, shuffled, tmp_path / "r.nii")


def test_volumes_read_back_in_their_space(tmp_path):
    like = nibabel.Nifti1Image(np.zeros((3, 4, 5), dtype=np.float32), np.diag([2.0, 2, 2, 1]))
    nibabel.save(like, tmp_path / "like.nii.gz")
    targets = pd.DataFrame({"hemisphere": "", "vertex": [0, 7, 59]})
    path = write_volume({"r": np.array([1.0, 2.0, 3.0])}, targets, tmp_path / "like.nii.gz", tmp_path / "r.nii.gz")
    image = nibabel.load(path)
    assert image.get_fdata()[..., 0].ravel()[[0, 7, 59]].tolist() == [1, 2, 3] and image.affine[0, 0] == 2


def test_evoked_responses_read_back_through_mne(tmp_path):
    sensors = load_sensors("ctf-272")["sensor"].to_numpy()[::9]
    times = np.round(np.arange(-0.1, 0.5, 0.05), 3)
    targets = pd.DataFrame({"sensor": np.repeat(sensors, len(times)), "time": np.tile(times, len(sensors))})
    values = np.random.default_rng(0).standard_normal((2, len(targets)))
    path = write_evoked(values, targets, tmp_path / "scores-ave.fif", comment="r")
    first, second = mne.read_evokeds(path, verbose="error")
    assert first.ch_names == sensors.tolist() and np.allclose(first.times, times, atol=1e-6)
    assert np.allclose(second.data.ravel(), values[1], rtol=1e-5)
    place = load_sensors("ctf-275").set_index("sensor").loc[sensors[0], ["x", "y", "z"]].to_numpy(dtype=float)
    assert np.allclose(first.info["chs"][0]["loc"][:3], place, atol=1e-6)
    with pytest.raises(InputError, match="no grid"):
        write_evoked(values[0, :-1], targets.iloc[:-1], tmp_path / "x-ave.fif")


def test_a_map_of_another_length_is_refused(targets, tmp_path):
    with pytest.raises(InputError, match=r"The map 'r' has shape \(3,\)"):
        write_gifti({"r": np.zeros(3)}, targets, tmp_path / "x")
