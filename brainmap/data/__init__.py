"""From a disk, a URL or a seed to responses: readers, the embedded sample and the simulation."""

from brainmap.data.arrays import read_responses
from brainmap.data.responses import Responses
from brainmap.data.sample import sample_stimuli
from brainmap.data.simulation import GroundTruth, SimulationConfig, simulate

__all__ = ["GroundTruth", "Responses", "SimulationConfig", "read_responses", "sample_stimuli", "simulate"]
