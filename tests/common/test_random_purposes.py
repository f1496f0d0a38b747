"""Within one study no two purposes share a number."""

from __future__ import annotations

from brainmap.common import random_purposes


def test_streams_of_a_study_never_coincide() -> None:
    of_photographs_or_images = {
        *("VIEW_CROPS", "VIEW_MASKS", "OBJECTIVE_MASKS"),  # keyed by the photograph, too
        *("RESAMPLED_IMAGES", "RESAMPLED_PAIRS", "PERMUTED_LABELS"),  # of a comparison without a study
    }
    numbers = {
        name: value
        for name, value in vars(random_purposes).items()
        if name.isupper() and name not in of_photographs_or_images
    }
    assert len(numbers) > 20 and len(set(numbers.values())) == len(numbers)
