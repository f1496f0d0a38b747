"""What the studies of one grid lend each other, so that it is computed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainmap.study.analysis.encoded_part import KeptCeilings
from brainmap.study.analysis.rows_and_spaces import KeptControls, KeptMeans
from brainmap.study.inputs import Simulated

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet


@dataclass
class Lent:
    """What studies that run in one process share; each adds what it was the first to need.

    Attributes
    ----------
    simulated : dict
        Simulated brains.
    sample : StimulusSet, optional
        Photographs of the sample, identified.
    controls, means, ceilings : dict
        Control spaces of the photographs; means over repeats and noise ceilings of simulated responses.
    planned : dict
        What plans have looked at.
    """

    simulated: dict[tuple[int, int], Simulated] = field(default_factory=dict)
    sample: StimulusSet | None = None
    controls: KeptControls = field(default_factory=dict)
    means: KeptMeans = field(default_factory=dict)
    ceilings: KeptCeilings = field(default_factory=dict)
    planned: dict[str, Any] = field(default_factory=dict)

    def make_room(self, seed: int, thin: int) -> None:
        """Let go of what was computed of brains that other ones are about to replace: one is kept at a time."""
        if (seed, thin) not in self.simulated:
            self.means.clear()
            self.ceilings.clear()
