"""Labels of trials and names of photographs: folders, suffixes, case and accents."""

from __future__ import annotations

import unicodedata

import pytest

from brainmap.photograph_names import PhotographNames, photograph_path, shared_by_several

NAMES = ["cat/00.png", "dog/00.png", "dog/01.png", "sea.jpg", "Café.png"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("cat/00.png", [0]),
        ("stimuli/dog/00", [1]),
        ("/home/me/exp/dog/01.PNG", [2]),
        (r"C:\exp\stim\SEA.JPG", [3]),
        ("01", [2]),
        ("00", [0, 1]),  # which of the two is not said
        ("bird/00", []),  # folders that both name must agree
        ("bird/01", []),
        ("0", []),
        (unicodedata.normalize("NFD", "café"), [4]),
        ("./sea", [3]),
    ],
)
def test_labels_mean_the_photograph_whose_path_they_share(label, expected):
    assert PhotographNames(NAMES).find(label) == expected


def test_case_is_told_apart_where_it_makes_a_difference():
    names = PhotographNames(["A.png", "a.png", "B.png"])
    assert names.find("a") == [1]
    assert names.find("A.jpg") == [0]
    assert names.find("b") == [2]


def test_the_longest_path_wins():
    names = PhotographNames(["00.png", "dog/00.png"])
    assert names.find("exp/dog/00") == [1]
    assert names.find("exp/cat/00") == [0]


def test_folders_that_were_not_copied_along_are_noticed():
    assert shared_by_several(["cat/00", "dog/00"], ["00", "00"]) == ("cat/00", "dog/00")
    assert shared_by_several(["/a/stim/00", "D:/x/stim/00.png", "00"], ["00", "00", "00"]) is None
    assert shared_by_several(["cat/00", "dog/00"], ["00", None]) is None


def test_paths_are_written_in_one_way():
    assert photograph_path(r" .\beach\img_07.JPG ") == "beach/img_07"
    assert photograph_path("1.10") == "1.10"
    assert photograph_path("1.10.png") == "1.10"
