"""From a disk, a URL or a seed to responses: readers, the embedded sample and the simulation."""

from brainmap.data.arrays import read_responses
from brainmap.data.responses import Responses

__all__ = ["Responses", "read_responses"]
