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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1e-2:1e2:5", (0.01, 0.1, 1.0, 10.0, 100.0)),
        ("1,100,10", (1.0, 10.0, 100.0)),
        ([1, "1e3"], (1.0, 1000.0)),  # YAML reads 1e3 as text
        (5, (5.0,)),
        (None, None),
    ],
)
def test_alphas_are_numbers_or_a_range(given: object, expected: tuple | None) -> None:
    found = StudyConfig.from_dict({"alphas": given}).alphas
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("text", "last"), [("1:10:5", 10.0), ("1e-2:1e8:15", 1e8), ("1.5:10:3", 10.0), ("[1, 1e3]", 1e3)]
)
def test_ranges_of_alphas_in_study_files_are_no_numbers_to_base_60(tmp_path: Path, text: str, last: float) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"schema: 2\nalphas: {text}\n")
    alphas = StudyConfig.from_yaml(path).alphas
    assert alphas is not None and len(alphas) > 1 and alphas[-1] == pytest.approx(last)


@pytest.mark.parametrize(
    "given", ["1:2", "0:1:3", "1:10:2.5", "1:10:1e9", "", "-1,2", [], [1, 1], True, "nan", {"a": 1}]
)
def test_alphas_that_are_none_are_one_sentence(given: object) -> None:
    with pytest.raises(InputError, match=r"^setting 'alphas' = .*(write low:high:count|true or false)"):
        StudyConfig.from_dict({"alphas": given})


@pytest.mark.parametrize("preset", ["misalignment", "convergence"])
def test_presets_keep_the_papers_alphas(preset: str) -> None:
    from brainmap.study.declared.study_file import load_preset

    alphas = StudyConfig.from_dict(load_preset(preset).study).alphas
    assert alphas is not None and len(alphas) == 10
    assert (alphas[0], alphas[-1]) == pytest.approx((1.0, 1e8))


def test_a_warning_of_many_encodings_is_one_line_of_the_run() -> None:
    from brainmap.study.analysis.provenance import _grouped

    notes = ["Too few. Layers: a (30%).", "Too few. Layers: b (25%).", "3 of 9 targets are flat. Targets: 1, 2, 3."]
    assert _grouped(notes) == [
        "3 of 9 targets are flat. Targets: 1, 2, 3.",
        "Too few. Layers: a (30%). The same in 1 more encodings.",
    ]
