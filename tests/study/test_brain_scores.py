"""Brain scores while training: the offline numbers, a training that is not disturbed, and one that continues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from study.own_files import write_own
from torch import nn

import brainmap
from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.data.own_recordings.subjects import read_subjects
from brainmap.hierarchy import half_times
from brainmap.study import BrainScores

LAYERS = ["1", "4"]


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 6, 16, stride=16), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv2d(6, 8, 3), nn.ReLU()]
    return nn.Sequential(*parts)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[brainmap.StimulusSet, Responses]:
    folder = tmp_path_factory.mktemp("own")
    write_own(folder)
    stimuli = brainmap.StimulusSet.from_folder(folder / "photos")
    files = (str(folder / "responses.npy"), folder / "targets.tsv", folder / "events.tsv")
    (responses,) = read_subjects(*files, stimuli).values()
    return stimuli, replace(responses, subject="S1")


def train(steps: int, scores: BrainScores | None, start: int = 0, module: nn.Module | None = None) -> nn.Module:
    module = network() if module is None else module
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    for step in range(start, steps):
        if scores is not None:
            scores.after_step(step, module)
        loss = module(torch.randn(2, 3, 96, 96)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return module


def test_a_training_is_not_disturbed(measured: tuple, tmp_path: Path) -> None:
    told: list[int] = []
    scores = BrainScores(*measured, tmp_path, layers=LAYERS, every=2, log=lambda values, step: told.append(step))
    watched, alone = train(5, scores), train(5, None)
    for a, b in zip(watched.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert watched.training and watched[1].inplace and all(weight.requires_grad for weight in watched.parameters())
    assert told == [0, 2, 4]


def test_scores_are_those_of_the_weights_afterwards(measured: tuple, tmp_path: Path) -> None:
    stimuli, responses = measured
    scores = BrainScores(stimuli, responses, tmp_path, layers=LAYERS, every=[3])
    train(3, None)
    module = train(4, scores)
    told = scores.evaluate(7, module)
    model = brainmap.from_module(module, name="offline", layers=LAYERS)
    features = brainmap.FeatureExtractor(model, signals=["activation"]).extract(stimuli)
    averaged = responses.average_repeats(stimuli.ids)
    offline = brainmap.cross_val_encode(
        {layer: np.asarray(features["activation", layer]) for layer in features.layers},
        averaged.values, groups=stimuli.table["source"].to_numpy(),
    )  # fmt: skip
    stored = scores.series()["meg"].sel(step=7, subject="S1")
    assert np.allclose(stored.transpose("unit", "split"), offline.r.mean("target"), atol=1e-6)
    assert told == pytest.approx(
        {f"meg S1 {layer}": float(offline.r.sel(layer=layer).mean()) for layer in LAYERS}, abs=1e-6
    )


def test_a_training_that_continues_keeps_its_series(measured: tuple, tmp_path: Path) -> None:
    whole = BrainScores(*measured, tmp_path / "whole", layers=LAYERS)
    train(6, whole)
    first = BrainScores(*measured, tmp_path / "parts", layers=LAYERS)
    module = train(3, first)
    again = BrainScores(*measured, tmp_path / "parts", layers=LAYERS)
    assert again.after_step(2, module) is None  # is there
    train(6, again, start=3, module=module)
    series = again.series()["meg"]
    assert series["step"].values.tolist() == [0, 1, 2, 5] == whole.series()["meg"]["step"].values.tolist()
    assert np.array_equal(series[:3], whole.series()["meg"][:3])
    assert half_times(series, unit="unit")["unit"].tolist() == LAYERS
    with pytest.raises(InputError, match="other photographs, responses or poolings"):
        BrainScores(*measured, tmp_path / "parts", layers=LAYERS, pooling="all-mean")


def test_steps_and_mistakes(measured: tuple, tmp_path: Path) -> None:
    scores = BrainScores(*measured, tmp_path)
    assert [step for step in range(120) if scores.due(step)] == [0, 1, 2, 5, 10, 20, 50, 100]
    with pytest.raises(InputError, match="no evaluation yet"):
        scores.series()
    with pytest.raises(InputError, match="Name the 'layers'"):
        scores.evaluate(0, network())
    with pytest.raises(InputError, match="'every' is 'log'"):
        BrainScores(*measured, tmp_path, every="often")
    with pytest.raises(InputError, match="one subject or more"):
        BrainScores(measured[0], [], tmp_path)
