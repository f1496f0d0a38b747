from __future__ import annotations

import numpy as np
import pandas as pd

from brainmap.data import Responses
from brainmap.encoding import cross_val_encode
from brainmap.stimuli import StimulusSet
from brainmap.study.analysis.rows_and_spaces import align_rows


def test_responses_too_large_to_keep_give_the_same_scores() -> None:
    rng = np.random.default_rng(0)
    photographs = StimulusSet.from_arrays(rng.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8))
    shown = np.concatenate([rng.permutation(20) for _ in range(3)])  # four photographs were not shown
    features = rng.standard_normal((24, 5))
    values = features[shown] @ rng.standard_normal((5, 6)) + rng.standard_normal((60, 6))
    targets = pd.DataFrame({"sensor": [f"S{i}" for i in range(6)], "time": 0.0})
    trials = pd.DataFrame({"stimulus": photographs.ids[shown]})
    responses = Responses(values.astype(np.float32), trials, targets, "meg", "S1")
    kept, streamed = align_rows(responses, photographs), align_rows(responses, photographs, memory=100)
    assert isinstance(kept.averaged.values, np.ndarray)
    assert not isinstance(streamed.averaged.values, np.ndarray)
    np.testing.assert_array_equal(kept.rows, np.arange(20))
    explicit = np.stack([values.astype(np.float32)[shown == i].mean(0, dtype=np.float64) for i in range(20)])
    np.testing.assert_allclose(kept.averaged.values, explicit, rtol=1e-6)
    scores = [
        cross_val_encode(features[one.rows], one.averaged.values, groups=one.groups, cv=4) for one in (kept, streamed)
    ]
    np.testing.assert_array_equal(scores[0].r.values, scores[1].r.values)
