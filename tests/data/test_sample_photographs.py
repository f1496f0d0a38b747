from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.data import sample_stimuli
from brainmap.data.sample import FOLDER, attribution

ALLOWED = {"CC0-1.0", "public domain", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0"}
MANIFEST = Path(__file__).resolve().parents[2] / "data_manifests" / "sample_photographs.tsv"


def test_there_are_enough_crops_of_enough_photographs():
    stimuli = sample_stimuli()
    assert len(stimuli) == 600
    per_source = stimuli.table["source"].value_counts()
    assert len(per_source) == 75
    assert set(per_source) == {8}
    assert all(min(image.shape[:2]) >= 96 for image in stimuli)


def test_pixels_are_what_they_were():
    assert sample_stimuli().digest == "a8662d6e2f1a8ff6"


def test_every_crop_has_an_author_an_allowed_licence_and_an_origin():
    table = sample_stimuli().table
    assert set(table["licence"]) <= ALLOWED
    assert not table[["author", "origin", "caption", "category"]].isna().any(axis=None)
    assert table["origin"].str.startswith("https://").all()


def test_attribution_names_every_source_author_licence_and_origin():
    text = attribution()
    columns = ["source", "author", "licence", "origin"]
    blocks = {block.splitlines()[0]: block for block in text.split("\n\n") if block.strip()}
    for row in sample_stimuli().table[columns].drop_duplicates().itertuples():
        block = blocks[str(row.source)]
        assert all(str(value) in block for value in (row.author, row.licence, row.origin))


def test_manifest_and_table_agree():
    manifest = pd.read_csv(MANIFEST, sep="\t", dtype=str).set_index("source")
    table = sample_stimuli().table.drop_duplicates("source").set_index("source")
    assert set(manifest.index) == set(table.index)
    for column in ("author", "licence", "origin", "caption", "category"):
        assert manifest[column].sort_index().to_dict() == table[column].sort_index().to_dict()
    assert manifest["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert not manifest["sha256"].duplicated().any()


def test_the_folder_is_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3.5e6


def test_crops_of_one_photograph_overlap_little():
    table = sample_stimuli().table
    for _, crops in table.groupby("source"):
        boxes = crops[["left", "top", "side"]].to_numpy()
        for i, (left, top, side) in enumerate(boxes):
            for other_left, other_top, other_side in boxes[:i]:
                width = min(left + side, other_left + other_side) - max(left, other_left)
                height = min(top + side, other_top + other_side) - max(top, other_top)
                shared = max(width, 0) * max(height, 0)
                assert shared / (side**2 + other_side**2 - shared) < 0.8


def test_photographs_are_told_apart_by_more_than_their_hash():
    """No two photographs of the sample are near copies of each other."""
    stimuli = sample_stimuli()
    first = np.flatnonzero(~stimuli.table["source"].duplicated())
    small = np.stack([stimuli.image(i).reshape(12, 8, 12, 8, 3).mean(axis=(1, 3)).ravel() for i in first])
    small = (small - small.mean(1, keepdims=True)) / small.std(1, keepdims=True)
    similarity = small @ small.T / small.shape[1]
    assert (similarity - np.eye(len(first))).max() < 0.95


def test_the_archive_holds_what_the_table_names():
    digest = hashlib.sha256((FOLDER / "photographs.zip").read_bytes()).hexdigest()
    assert digest == "9d8799e9b68aff39d7725e1dfe32bfad8909161e7acc107fb840417bf0b22974"
