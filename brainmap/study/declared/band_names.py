"""Names of bands in a study file: ``activation``, ``activation:block.3/block.5``, ``activation of clip@untrained``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from brainmap.common.names import Signal

OF = " of "


@dataclass(frozen=True)
class BandName:
    """What a band is made of.

    Attributes
    ----------
    space : str
        Signal, or control by name.
    layers : tuple of str
        Layers of a signal; empty for all.
    model, weights : str
        Of another model than the study's; the model is empty otherwise.
    """

    space: str
    layers: tuple[str, ...] = ()
    model: str = ""
    weights: str = "trained"

    @classmethod
    def of(cls, name: str) -> BandName:
        """Read a name; raises ValueError with one sentence where it is of another model but names none, or no signal.

        Examples
        --------
        >>> from brainmap.study.declared.band_names import BandName
        >>> BandName.of("activation:block.3 of clip-vit-base-patch32@untrained")
        BandName(space='activation', layers=('block.3',), model='clip-vit-base-patch32', weights='untrained')
        """
        what, of, whose = name.partition(OF)
        space, _, layers = what.strip().partition(":")
        model, _, weights = whose.strip().partition("@")
        if of and not model:
            raise ValueError(f"the band '{name}' must say of which model, such as 'activation of dino-tiny@untrained'")
        if of and space not in get_args(Signal):
            raise ValueError(f"the band '{name}' is of a model: it is its activation or its gradient, not '{space}'")
        return cls(space, tuple(filter(None, layers.split("/"))), model, weights or "trained")


def bands_of_other_models(names: Sequence[str]) -> dict[str, BandName]:
    """Bands that another model than the study's makes, by their name."""
    read = {name: BandName.of(name) for name in names}
    return {name: band for name, band in read.items() if band.model}
