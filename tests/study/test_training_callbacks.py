"""Callbacks for Lightning and the Hugging Face Trainer: their protocols, and Lightning itself where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from study.own_files import write_own
from torch import nn

import brainmap
from brainmap.common.errors import MissingFileError
from brainmap.data.own_recordings.subjects import read_subjects
from brainmap.study import BrainScores

LAYERS = ["0", "2"]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 16, stride=16), nn.ReLU(), nn.Conv2d(6, 8, 3))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("own")
    write_own(folder)
    stimuli = brainmap.StimulusSet.from_folder(folder / "photos")
    files = (str(folder / "responses.npy"), folder / "targets.tsv", folder / "events.tsv")
    return stimuli, *read_subjects(*files, stimuli).values()


class Logger:
    def __init__(self) -> None:
        self.steps: list[int] = []

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        assert all(name.startswith("meg ") for name in values)
        self.steps.append(step)


def test_lightning_protocol(measured: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("lightning.pytorch")
    fake.Callback = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", fake)
    scores, logger = BrainScores(*measured, tmp_path, layers=LAYERS, every=[0, 2]), Logger()
    callback = scores.for_lightning(lambda module: module.backbone)
    module = SimpleNamespace(backbone=network())
    trainer = SimpleNamespace(global_step=0, is_global_zero=True, loggers=[logger])
    callback.on_train_start(trainer, module)
    for step in (1, 2, 2, 3):  # two batches of gradients that are gathered: one step
        trainer.global_step = step
        callback.on_train_batch_end(trainer, module, None, None, 0)
    assert logger.steps == [0, 2] == scores.series()["meg"]["step"].values.tolist()
    other = SimpleNamespace(global_step=0, is_global_zero=False, loggers=[logger])
    BrainScores(*measured, tmp_path / "other", layers=LAYERS).for_lightning().on_train_start(other, network())
    assert logger.steps == [0, 2]


def test_trainer_protocol(measured: tuple, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    scores = BrainScores(*measured, tmp_path, layers=LAYERS, every=2)
    callback = scores.for_trainer()
    assert isinstance(callback, transformers.TrainerCallback)
    state = transformers.TrainerState()
    callback.on_train_begin(None, state, None, model=network())
    for step in (1, 2, 3):
        state.global_step = step
        callback.on_step_end(None, state, None, model=network())
    assert [entry["step"] for entry in state.log_history] == [0, 2]
    assert state.log_history[0]["meg 01 2"] == pytest.approx(float(scores.series()["meg"].sel(step=0, unit="2").mean()))


def test_without_the_package_one_sentence(measured: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingFileError, match="pip install lightning"):
        BrainScores(*measured, tmp_path, layers=LAYERS).for_lightning()


def test_in_lightning_itself(measured: tuple, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = network()

        def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
            loss: torch.Tensor = self.backbone(batch).square().mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    def fit(scores: BrainScores | None) -> nn.Module:
        lightning.seed_everything(1, verbose=False)
        module, batches = Module(), torch.randn(4, 2, 3, 96, 96)
        callbacks = [] if scores is None else [scores.for_lightning(lambda module: module.backbone)]
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        more = {"accelerator": "cpu", "devices": 1, "enable_model_summary": False}
        trainer = lightning.Trainer(max_epochs=1, callbacks=callbacks, default_root_dir=tmp_path, **quiet, **more)
        trainer.fit(module, torch.utils.data.DataLoader(list(batches), batch_size=None))
        return module

    scores = BrainScores(*measured, tmp_path / "scores", layers=LAYERS)
    for a, b in zip(fit(scores).parameters(), fit(None).parameters(), strict=True):
        assert torch.equal(a, b)
    series = scores.series()["meg"]
    assert series["step"].values.tolist() == [0, 1, 2] and np.isfinite(series).all()
