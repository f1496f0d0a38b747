from __future__ import annotations

from pathlib import Path

import pytest

from brainmap.common.errors import InputError
from brainmap.study import StudyConfig


def test_defaults_are_the_sample() -> None:
    config = StudyConfig()
    assert (config.dataset, config.model, config.signals) == ("sample", "dino-tiny", ("activation", "gradient"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"modle": "x"}, "unknown setting 'modle' = 'x'; known settings: model"),
        ({"cv": 1}, "setting 'cv' = 1: Input should be greater than or equal to 2"),
        ({"signals": ("activation", "activation")}, "'signals' must name at least one value, each once"),
        ({"signals": ("backprop",)}, "setting 'signals' = 'backprop': Input should be 'activation' or 'gradient'"),
        ({"dataset": "own"}, "dataset 'own' and the files of 'own'"),
        ({"pooling": "mean"}, "setting 'pooling' = 'mean'"),
        ({"fmri_level": 5}, "setting 'fmri_level' = 5: Input should be less than 1"),
        ({"pca": True}, "setting 'pca' = True: no setting is true or false; give a number or a word"),
        ({"seed": False}, "setting 'seed' = False: no setting is true or false"),
        ({"subjects": [True]}, "setting 'subjects' = True: Input should be a valid string"),
        ({"residual_layers": "first"}, "setting 'residual_layers' = 'first': Input should be 'all' or 'last'"),
    ],
)
def test_wrong_settings_are_one_sentence(values: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        StudyConfig.from_dict(values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_digest_follows_what_is_computed_not_how() -> None:
    base = StudyConfig()
    assert StudyConfig(memory="8GB", device="cuda").digest() == base.digest()
    digests = {StudyConfig(seed=1).digest(), StudyConfig(pooling="cls").digest(), StudyConfig(cv=6).digest()}
    digests |= {StudyConfig(residual_layers="last").digest(), StudyConfig(fmri_level=0.01).digest()}
    assert len(digests | {base.digest()}) == 6


def test_subjects_may_be_numbers() -> None:
    assert StudyConfig.from_dict({"subjects": [1, 2]}) == StudyConfig(subjects=("1", "2"))


def test_yaml_study_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("model: dino-tiny\nmodality: [meg]\ncv: 4\n")
    config = StudyConfig.from_yaml(path)
    assert config.modality == ("meg",)
    assert config.cv == 4
    path.write_text("- a\n- b\n")
    with pytest.raises(InputError, match="must hold 'key: value' lines"):
        StudyConfig.from_yaml(path)
    with pytest.raises(InputError, match="does not exist"):
        StudyConfig.from_yaml(tmp_path / "absent.yaml")
