from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.data.published_splits import fixed_split
from brainmap.data.session_consistency import session_consistency
from brainmap.encoding import NumericalWarning, cross_val_encode
from brainmap.stimuli import StimulusSet

N_SESSIONS, N_TRIALS = 6, 60


def sessions(*, noise: float = 1.0) -> Responses:
    """Six sessions of 60 trials: 20 photographs in all of them, 40 in one only; a level of its own in each."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((20 + 40 * N_SESSIONS, 50))
    stimuli, values = [], []
    for session in range(N_SESSIONS):
        shown = rng.permutation(np.concatenate([np.arange(20), 20 + 40 * session + np.arange(40)]))
        stimuli += [f"s{image:03d}" for image in shown]
        values.append(signal[shown] + noise * rng.standard_normal((N_TRIALS, 50)))
    trials = pd.DataFrame({"stimulus": stimuli, "session": np.repeat(np.arange(1, N_SESSIONS + 1), N_TRIALS)})
    targets = pd.DataFrame({"roi": "V1", "hemisphere": "L", "x": 0.0, "y": 0.0, "z": 0.0, "vertex": np.arange(50)})
    return Responses(np.concatenate(values).astype(np.float32), trials, targets, "fmri", "01")


def test_sessions_in_order_fit_with_the_planted_reliability():
    table = session_consistency(sessions()).table
    assert (table["verdict"] == "fits").all() and (table["n"] == 20).all()
    # signal and noise of variance 1; the mean of five others has noise 1/5
    assert table["r"].mean() == pytest.approx(1 / np.sqrt(2 * 1.2), abs=0.05)


@pytest.mark.parametrize("shift", [1, -1])
def test_a_session_shifted_by_one_trial_is_found(shift):
    responses = sessions()
    values = np.array(responses.values)
    here = slice(2 * N_TRIALS, 3 * N_TRIALS)
    values[here] = np.roll(values[here], shift, axis=0)
    found = session_consistency(replace(responses, values=values))
    assert found.suspicious[["session", "verdict"]].to_numpy().tolist() == [[3, f"shifted by {shift}"]]


def test_two_swapped_sessions_are_found():
    responses = sessions()
    order = np.arange(len(responses.trials)).reshape(N_SESSIONS, -1)
    order[[1, 4]] = order[[4, 1]]
    found = session_consistency(replace(responses, values=np.asarray(responses.values)[order.ravel()]))
    assert found.suspicious[["session", "verdict"]].to_numpy().tolist() == [
        [2, "swapped with session 5"],
        [5, "swapped with session 2"],
    ]


def test_noise_alone_is_unclear_and_single_showings_cannot_be_compared():
    assert set(session_consistency(sessions(noise=100.0)).table["verdict"]) <= {"unclear", "fits"}
    responses = sessions()
    alone = replace(responses, trials=responses.trials.assign(stimulus=[f"s{i}" for i in range(360)]))
    with pytest.raises(InputError, match="No photograph was shown to subject 01 in two sessions"):
        session_consistency(alone)


def test_the_fixed_split_trains_on_nothing_that_shares_a_source_with_a_test_photograph():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    table = pd.DataFrame({"name": [f"i{k:02d}" for k in range(30)], "source": [f"p{k // 2}" for k in range(30)]})
    table["test"] = np.arange(30) < 5
    stimuli = StimulusSet.from_arrays(pixels, table)
    trials = pd.DataFrame({"stimulus": np.tile(stimuli.ids, 2)})
    X = np.tile(rng.standard_normal((30, 4)), (2, 1))
    Y = (X @ rng.standard_normal((4, 3)) + 0.1 * rng.standard_normal((60, 3))).astype(np.float32)
    targets = pd.DataFrame({"roi": "V1", "hemisphere": "L", "x": 0.0, "y": 0.0, "z": 0.0, "vertex": np.arange(3)})
    responses = Responses(Y, trials, targets, "fmri", "01")
    [(train, test)] = fixed_split(responses, stimuli)
    assert len(test) == 10 and 5 not in train and 35 not in train and len(train) == 48  # photograph 5 shares p2 with 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        result = cross_val_encode(X, Y, cv=[(train, test)], groups=trials["stimulus"])
    assert result.r.sizes["split"] == 1 and float(result.r.min()) > 0.9
    with pytest.raises(InputError, match="pass the test photographs as a mask"):
        fixed_split(responses, StimulusSet.from_arrays(pixels))
