from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from brainmap.common.errors import InputError, MissingFileError
from brainmap.comparison.rdm_ceiling import noise_ceiling
from brainmap.data.brain_rdms import BrainRDMs, as_rdms, read_algonauts92, read_images78, read_images92, read_rdms
from brainmap.stimuli import StimulusSet


@pytest.fixture
def rdms() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([squareform(pdist(rng.standard_normal((7, 5)), "correlation")) for _ in range(4)])


def photographs(count: int) -> StimulusSet:
    rng = np.random.default_rng(1)
    return StimulusSet.from_arrays(rng.integers(0, 256, size=(count, 8, 8, 3), dtype=np.uint8))


def test_vectors_and_matrices_are_the_same_thing(rdms: np.ndarray) -> None:
    vectors = np.stack([squareform(one) for one in rdms])
    for given in (rdms, vectors):
        brain = BrainRDMs({"IT": given})
        np.testing.assert_array_equal(brain["IT"], rdms)
        np.testing.assert_array_equal(brain.vectors("IT"), vectors)
        np.testing.assert_allclose(brain.mean("IT"), vectors.mean(axis=0))
    np.testing.assert_array_equal(as_rdms(rdms[0]), rdms[:1])
    np.testing.assert_array_equal(as_rdms(vectors[0]), rdms[:1])


def test_rounding_and_missing_diagonals_are_mended(rdms: np.ndarray) -> None:
    given = rdms.astype(np.float32)
    given[0, 1, 2] += 1e-7
    given[:, np.arange(7), np.arange(7)] = np.nan
    found = as_rdms(given)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    assert not found[:, np.arange(7), np.arange(7)].any()
    np.testing.assert_allclose(found, rdms, atol=1e-6)


def test_names_sizes_and_rsatoolbox(rdms: np.ndarray) -> None:
    brain = BrainRDMs({"EVC": rdms, "IT": rdms**2}, stimuli=photographs(7), measure="1 − Pearson r")
    assert brain.areas == ("EVC", "IT") and brain.n_images == 7 and brain.n_subjects == 4
    assert brain.subjects[0] == "subject_01" and "EVC, IT: 4 subjects × 7 images" in repr(brain)
    theirs = brain.to_rsatoolbox("IT")
    np.testing.assert_allclose(theirs.get_matrices(), rdms**2)
    assert theirs.n_rdm == 4 and theirs.dissimilarity_measure == "1 − Pearson r"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.__setitem__((2, 1, 3), np.nan), r"nan at subject 2, images 1 and 3"),
        (lambda r: r.__setitem__((1, 0, 5), 0.5), r"subject 1 .* not symmetric: 0\.5 at \(0, 5\)"),
        (lambda r: r.__setitem__((3, 4, 4), 1.0), r"subject 3 .* has 1 at \(4, 4\).* give 1 − r"),
    ],
)
def test_faulty_values_are_named(rdms: np.ndarray, change, message: str) -> None:
    change(rdms)
    with pytest.raises(InputError, match=message):
        BrainRDMs({"IT": rdms})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 5)), r"shape \(2, 4, 5\)"),
        (np.zeros((3, 8)), "8 is not the number of pairs"),
        (np.zeros((3, 2, 2)), "3 images"),
        (np.array([["a", "b"]]), "save them as real numbers"),
    ],
)
def test_wrong_shapes_are_named(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_rdms(array)


def test_counts_must_agree(rdms: np.ndarray) -> None:
    with pytest.raises(InputError, match="7 images, but there are 6 photographs"):
        BrainRDMs({"IT": rdms}, stimuli=photographs(6))
    with pytest.raises(InputError, match="2 names for 4 subjects"):
        BrainRDMs({"IT": rdms}, subjects=("a", "b"))
    with pytest.raises(InputError, match="areas differ"):
        BrainRDMs({"EVC": rdms[:, :5, :5], "IT": rdms})
    with pytest.raises(InputError, match="no brain area"):
        BrainRDMs({})
    with pytest.raises(InputError, match="no area 'V4'"):
        BrainRDMs({"IT": rdms})["V4"]


def test_reading_files(rdms: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "IT.npy", rdms)
    np.savez(tmp_path / "two.npz", EVC=rdms, IT=2 * rdms)
    np.savez(tmp_path / "one.npz", rdms)
    assert read_rdms(tmp_path / "IT.npy", stimuli=photographs(7)).areas == ("IT",)
    assert read_rdms(tmp_path / "one.npz").areas == ("one",)
    assert read_rdms(tmp_path / "one.npz", area="FFA").areas == ("FFA",)
    both = read_rdms(tmp_path / "two.npz", source="a paper", measure="euclidean")
    assert both.areas == ("EVC", "IT") and both.source == "a paper"
    np.testing.assert_array_equal(both["IT"], 2 * rdms)
    assert read_rdms(tmp_path / "two.npz", area="IT").areas == ("IT",)
    with pytest.raises(InputError, match="no array 'V1'"):
        read_rdms(tmp_path / "two.npz", area="V1")


def test_unreadable_files(rdms: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no file"):
        read_rdms(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(InputError, match="cannot be read as numpy arrays"):
        read_rdms(tmp_path / "text.npz")
    np.save(tmp_path / "objects.npy", np.array([{"IT": rdms}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as numpy arrays"):  # Python objects are never unpickled
        read_rdms(tmp_path / "objects.npy")
    np.savez(tmp_path / "other.npz", images=np.zeros((3, 3)))
    with pytest.raises(InputError, match="no array 'rdm_session1'"):
        read_images92(tmp_path / "other.npz")


def test_algonauts92_has_the_organisers_ceilings(shared_data: Path) -> None:
    brain = read_algonauts92(shared_data / "algonauts92")
    assert (brain.n_subjects, brain.n_images, brain.areas) == (15, 92, ("EVC", "IT"))
    assert brain.stimuli is not None and brain.stimuli.table["name"].iloc[-1] == "image_92"
    assert noise_ceiling(brain.vectors("EVC")).upper_r2 == pytest.approx(0.1589, abs=5e-5)
    assert noise_ceiling(brain.vectors("IT")).upper_r2 == pytest.approx(0.3075, abs=5e-5)


def test_algonauts92_in_its_form(rdms: np.ndarray, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(MissingFileError, match="no file"):
        read_algonauts92(tmp_path)
    (tmp_path / "92images").mkdir()
    for i in range(7):
        Image.fromarray(photographs(7).image(i)).save(tmp_path / "92images" / f"image_{i + 1:02d}.jpg")
    with h5py.File(tmp_path / "target_fmri_92.mat", "w") as file:
        file["EVC_RDMs"] = file["IT_RDMs"] = np.moveaxis(rdms, 0, -1)
    brain = read_algonauts92(tmp_path)
    np.testing.assert_allclose(brain["IT"], rdms)
    with h5py.File(tmp_path / "target_fmri_92.mat", "w") as file:
        file["EVC_RDMs"] = rdms
    with pytest.raises(InputError, match="EVC_RDMs"):
        read_algonauts92(tmp_path)


def test_the_real_files(shared_data: Path) -> None:
    first = read_images78(shared_data / "images78_fmri_rdm")
    assert first.areas == ("EVC", "IT") and (first.n_subjects, first.n_images) == (15, 78)
    assert first.stimuli is not None and first.stimuli.table["name"].iloc[9] == "image_10"
    second = read_images92(shared_data / "images92_hIT")
    assert second.subjects == ("BE", "KO", "SN", "TI") and second.n_images == 92
    assert second.stimuli is not None and second.stimuli.image(0).shape == (175, 175, 3)
    faces = second.stimuli.table["face"].to_numpy(bool)
    mean = squareform(second.mean("hIT"))
    # The images are in the order of the rows: faces look alike to IT.
    among, across = mean[np.ix_(faces, faces)], mean[np.ix_(faces, ~faces)]
    assert among.sum() / (faces.sum() * (faces.sum() - 1)) < across.mean() - 0.1
