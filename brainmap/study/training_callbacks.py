"""Brain scores in the training loops of Lightning and of Hugging Face, where these are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import MissingFileError

if TYPE_CHECKING:
    from brainmap.study.brain_scores import BrainScores

Network = Callable[[Any], Any]


def lightning_callback(scores: BrainScores, network: Network | None = None) -> Any:
    """Return a Lightning ``Callback`` that evaluates at due steps; scores also go to the trainer's loggers.

    Parameters
    ----------
    scores : BrainScores
        Photographs, responses and steps.
    network : callable, optional
        From the LightningModule to the network that is scored, such as ``lambda module: module.backbone``; by default
        the module itself.

    Returns
    -------
    lightning.Callback
        For ``Trainer(callbacks=[…])``. The step is the number of optimiser steps taken, before which nothing is
        evaluated but step 0. Of several processes the first evaluates.

    Raises
    ------
    MissingFileError
        If neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    base = _installed(("lightning.pytorch", "pytorch_lightning"), "lightning").Callback

    class BrainScoresCallback(base):  # type: ignore[misc, valid-type]
        """Evaluates at the start, and after each optimiser step that is due."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            _evaluate(trainer, pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            _evaluate(trainer, pl_module)

    def _evaluate(trainer: Any, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        step = int(trainer.global_step)
        told = scores.after_step(step, module if network is None else network(module))
        for logger in trainer.loggers if told else ():
            logger.log_metrics(told, step=step)

    return BrainScoresCallback()


def trainer_callback(scores: BrainScores, network: Network | None = None) -> Any:
    """Return a ``TrainerCallback`` of transformers that evaluates at due steps.

    Parameters
    ----------
    scores : BrainScores
        Photographs, responses and steps; its ``log`` takes scores to TensorBoard or W&B.
    network : callable, optional
        From the trained model to the network that is scored; by default the model itself.

    Returns
    -------
    transformers.TrainerCallback
        For ``Trainer(callbacks=[…])``. Scores are added to the trainer's ``state.log_history``. Of several processes
        the first evaluates.

    Raises
    ------
    MissingFileError
        If ``transformers`` is not installed.
    """
    base = _installed(("transformers",), "transformers").TrainerCallback

    class BrainScoresCallback(base):  # type: ignore[misc, valid-type]
        """Evaluates at the start, and after each optimiser step that is due."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            _evaluate(state, more["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            _evaluate(state, more["model"])

    def _evaluate(state: Any, model: Any) -> None:
        if not state.is_world_process_zero:
            return
        step = int(state.global_step)
        told = scores.after_step(step, model if network is None else network(model))
        if told:
            state.log_history.append({**told, "step": step})

    return BrainScoresCallback()


def _installed(modules: tuple[str, ...], package: str) -> Any:
    """Import the first of some modules.

    Raises
    ------
    MissingFileError
        If none is installed.
    """
    for name in modules:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise MissingFileError(f"A callback for {package} needs this package; install it with: pip install {package}")
