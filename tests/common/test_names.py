"""A text where names are wanted is one name, not its letters: the public parameters that take several."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import brainmap
from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.data.atlas import area_table, cortical_targets
from brainmap.data.readers.bids.bids_meeg import BIDSMEEGOptions
from brainmap.data.simulation.simulation_config import SimulationConfig
from brainmap.encoding import EncodingResult, concat
from brainmap.features.control_spaces import gradient_norms
from brainmap.hierarchy import factor_table
from brainmap.models import register_objective
from brainmap.models.objectives import OBJECTIVES
from brainmap.study.declared.level_checkpoints import Level

TAKES_SEVERAL = re.compile(r"(Sequence|Iterable|Collection)\[str\]|tuple\[str, \.\.\.\]")


def test_a_text_is_one_name() -> None:
    assert as_names("block.3") == ("block.3",) and as_names(["a", "b"]) == ("a", "b") and as_names(()) == ()


def test_layers_and_signals_of_features() -> None:
    model = brainmap.load_model("dino-tiny")
    assert model.layer_names("block.3") == ("block.3",)
    extractor = brainmap.FeatureExtractor(model, layers="block.3", signals="gradient", pooling="cls")
    assert (extractor.layers, extractor.signals, extractor.poolings) == (("block.3",), ("gradient",), ("cls",))
    with pytest.raises(InputError, match="no layer 'block'"):
        brainmap.FeatureExtractor(model, layers="block")
    with pytest.raises(InputError, match="signals must be among"):
        brainmap.FeatureExtractor(model, signals="gradient,activation")

    class Norms:
        gradient_norms = {"block.0": np.ones(3)}  # noqa: RUF012

    assert gradient_norms(Norms(), "block.0").shape == (3, 1)  # type: ignore[arg-type]


def test_areas_subjects_and_options() -> None:
    assert set(cortical_targets("V1", hemispheres="R")["roi"]) == {"V1"}
    assert area_table("FFC", hemispheres="L")["roi"].tolist() == ["FFC"]
    config = SimulationConfig.small(subjects="S10", modalities="meg")
    assert (config.subjects, config.modalities) == (("S10",), ("meg",))
    assert BIDSMEEGOptions(trial_types="image").trial_types == ("image",)
    assert Level(weights="trained").weights == ("trained",)


def test_labels_factors_and_needs() -> None:
    scores = {name: np.ones((1, 2, 3)) for name in ("r", "r2", "alpha")}
    result = EncodingResult.from_arrays(scores, layers="block.0", attrs={})
    assert concat([result], "subject", "S1").dataset["subject"].values.tolist() == ["S1"]
    table = factor_table(xr.DataArray(np.ones((2, 2)), dims=("subject", "size"), coords={"size": ["S", "B"]}), "size")
    assert table["size"].tolist() == ["S", "B"]
    register_objective("one-need", needs="caption")(lambda model, batch: torch.zeros(1))
    assert OBJECTIVES.pop("one-need").needs == ("caption",)


class Own(torch.nn.Module):
    """Three convolutions with names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.retina, self.v1, self.it = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.it(self.v1(self.retina(pixels)))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("v1", ["v1"]),
        (["retina", "it"], ["retina", "it"]),
        ({"early": "retina", "late": "it"}, ["early", "late"]),
    ],
)
def test_layers_of_an_own_module_keep_their_names(layers: object, names: list[str]) -> None:
    model = brainmap.from_module(Own(), name="own", layers=layers)
    assert [layer.name for layer in model.layers] == names
    features = brainmap.FeatureExtractor(model, signals="activation").extract(brainmap.sample_stimuli().subset([0, 1]))
    assert list(features) == [("activation", name) for name in names]


def test_layers_that_are_not_there_or_twice_are_refused() -> None:
    with pytest.raises(InputError, match="No module of Own matches v2"):
        brainmap.from_module(Own(), name="own", layers=["v1", "v2"])
    with pytest.raises(InputError, match="each module one layer"):
        brainmap.from_module(Own(), name="own", layers=["v1", "v1"])
    stack = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1))
    assert [layer.name for layer in brainmap.from_module(stack, name="stack", layers="*").layers] == ["0", "1"]


def test_whoever_takes_several_names_asks_the_one_helper() -> None:
    """Public functions of the package: a new parameter of several names must not take a text for its letters."""
    package = Path(brainmap.__file__).parent
    faces = [package, *(package / room for room in ("data", "encoding", "features", "hierarchy", "models"))]
    careless = []
    for face in faces:
        module = __import__(".".join(["brainmap", *face.relative_to(package).parts]), fromlist=["x"])
        for name in module.__all__:
            thing = getattr(module, name)
            for function in [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]:
                if not inspect.isfunction(function) or function.__name__.startswith("_"):
                    continue
                takes = [text for text in function.__annotations__.values() if TAKES_SEVERAL.search(str(text))]
                takes = takes if function.__annotations__.get("return") not in takes else takes[:-1]
                if takes and "as_names" not in inspect.getsource(function):
                    careless.append(function.__qualname__)
    passed_on = {  # to functions that ask it
        "FrozenReference.remarks",  # ids of a batch
        "Objective.remarks",
        "VisionModel.similarity",
        "VisionModel.site_modules",
        "spatial_hierarchy",
    }
    assert set(careless) <= passed_on, set(careless) - passed_on
