"""Features that are there already: rows find their photographs, and a study of them goes like a model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError, ReadingNote
from brainmap.features.given_features import GivenFeatures
from brainmap.stimuli import StimulusSet

NAMES = ["a", "sub/b", "c"]
CONV, FC = np.random.default_rng(0).standard_normal((3, 2, 4, 4)), np.random.default_rng(1).standard_normal((3, 7))


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": NAMES}))


def test_rows_are_found_by_name(stimuli: StimulusSet, tmp_path: Path):
    order = [2, 0, 1]
    labels = np.array(["X/c.jpg", "A.PNG", "b"])
    np.savez(tmp_path / "alexnet.npz", conv1=CONV[order], fc6=FC[order], names=labels)
    given = GivenFeatures(tmp_path / "alexnet.npz")
    features = given.extract(stimuli)
    np.testing.assert_array_equal(features["activation", "conv1"], CONV.reshape(3, -1).astype(np.float32))
    np.testing.assert_array_equal(features["activation", "fc6"], FC.astype(np.float32))
    assert features.depths == {"conv1": 0.0, "fc6": 1.0}
    assert (given.model.name, given.width) == ("alexnet", 32)
    np.testing.assert_array_equal(features.ids, stimuli.ids)


def test_rows_without_names_are_in_sorted_order_and_said(stimuli: StimulusSet, tmp_path: Path):
    np.savez_compressed(tmp_path / "f.npz", **{"fc": FC, "gradient/fc": FC + 1})
    with pytest.warns(ReadingNote, match="taken for the photographs in sorted order, from 'a' on"):
        features = GivenFeatures(tmp_path / "f.npz", signals=("activation", "gradient")).extract(stimuli)
    np.testing.assert_array_equal(features["gradient", "fc"], (FC + 1).astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"fc": FC[:2]}, {}, "has 2 rows for 3 photographs; add an array 'names'"),
        ({"fc": FC, "names": np.array([*"abd"])}, {}, r"The photograph 'c' has no row in .*f\.npz \(array 'names'\)"),
        ({"fc": FC, "names": np.array([*"ab"])}, {}, "has 2 names for 3 rows"),
        ({"fc": FC, "conv": CONV[:2]}, {}, "have 2 to 3 rows"),
        ({"fc": np.where(FC > 2, FC, np.nan), "names": np.array([*"abc"])}, {}, "are no numbers for 'a'"),
        ({"fc": FC}, {"layers": ("fc7",)}, "has no layer 'fc7'; it has fc"),
        ({"fc": FC}, {"signals": ("gradient",)}, "has no gradients of the layer 'fc'"),
        ({"fc": FC[:, 0]}, {}, "holds no array of images × features"),
        ({"fc": np.array([{}, {}, {}])}, {}, "holds Python objects, which are never unpickled"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(stimuli: StimulusSet, tmp_path: Path, arrays, options, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(InputError, match=message):
        GivenFeatures(tmp_path / "f.npz", **options).extract(stimuli)


@pytest.mark.parametrize("share", [0, 0.5, 0.97])
def test_cut_files_are_refused(tmp_path: Path, share: float):
    np.savez(tmp_path / "f.npz", fc=FC)
    data = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"f\.npz is cut short or damaged"):
        GivenFeatures(tmp_path / "f.npz")
