from __future__ import annotations

import numpy as np
import pytest
from data.public_files import write_algonauts

from brainmap.common.errors import InputError
from brainmap.data.readers import open_dataset
from brainmap.data.readers.nsd.algonauts import read_noise_ceilings
from brainmap.data.responses import Responses


@pytest.mark.parametrize(("subject", "inverse"), [("01", 0.37), ("03", 0.49), ("08", 0.52)])
def test_official_ceilings_are_fractions_of_means_over_the_showings_that_were_published(tmp_path, subject, inverse):
    root = tmp_path / "algonauts2023"
    write_algonauts(root)
    (root / "subj01").rename(root / f"subj{subject}")
    folder = root / f"subj{subject}/test_split/noise_ceiling"
    folder.mkdir(parents=True)
    planted = np.linspace(0, 0.9, 12), np.linspace(0.1, 0.5, 9)
    for side, share in zip("lr", planted, strict=True):
        np.save(folder / f"{side}h_noise_ceiling.npy", share)
    reader = open_dataset("algonauts2023", root)
    name = reader.subjects()[0]
    responses = reader.responses(name, reader.stimuli([name]))
    ncsnr = responses.targets["ncsnr"].to_numpy()
    # Allen et al. 2022: share = ncsnr² / (ncsnr² + mean of 1/n)
    assert np.allclose(ncsnr**2 / (ncsnr**2 + inverse), np.concatenate(planted))
    assert np.allclose(1 / responses.average_repeats().trials["n_repeats"], inverse)


def test_ceilings_whose_unit_is_unclear_or_wrong_are_refused(tmp_path):
    np.save(tmp_path / "lh.npy", np.array([0.2, 0.9]))
    with pytest.raises(InputError, match="percent or fractions"):
        read_noise_ceilings(tmp_path, "L")
    np.save(tmp_path / "rh_noise_ceiling.npy", np.array([20.0, 90.0]))
    with pytest.raises(InputError, match="as a fraction of the variance per vertex"):
        read_noise_ceilings(tmp_path, "R")
    np.save(tmp_path / "lh.npy", np.array([0.2, 90]))
    assert read_noise_ceilings(tmp_path, "L").tolist() == [0.002, 0.9]


def test_means_of_means_count_the_showings_behind_them():
    import pandas as pd

    trials = pd.DataFrame({"stimulus": ["a", "b", "a"], "n_repeats": [3.0, 2.0, 1.0]})
    targets = pd.DataFrame({"sensor": ["s"], "time": [0.0]})
    averaged = Responses(np.zeros((3, 1)), trials, targets, "meg", "1").average_repeats()
    assert averaged.trials["n_repeats"].tolist() == [4 / (1 / 3 + 1), 2.0]
