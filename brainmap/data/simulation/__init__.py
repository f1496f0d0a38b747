"""Simulated fMRI and MEG with planted structure: which layer drives what, where gradients add something, and when.

Nothing here is shipped or downloaded: responses follow from feature arrays and a seed. They are labelled as simulated
in every object, and their :class:`GroundTruth` says what an analysis should find.
"""

from brainmap.data.simulation.config import SimulationConfig
from brainmap.data.simulation.simulate import simulate
from brainmap.data.simulation.toy import toy_features
from brainmap.data.simulation.truth import GroundTruth

__all__ = ["GroundTruth", "SimulationConfig", "simulate", "toy_features"]
