"""The embedded photographs: 600 crops of 75 freely licensed photographs."""

from __future__ import annotations

from pathlib import Path

from brainmap.stimuli import StimulusSet

FOLDER = Path(__file__).parent / "sample_photographs"


def sample_stimuli() -> StimulusSet:
    """Photographs of the embedded sample.

    Returns
    -------
    StimulusSet
        600 crops of 96 × 96 px, eight of each photograph. The table has ``source`` (the photograph: folds and
        permutations keep its crops together), ``category`` (animal, building, landscape, object, plant), ``caption``,
        ``licence``, ``author``, ``origin`` and the crop's ``left``, ``top`` and ``side`` in pixels of the photograph.

    Notes
    -----
    All are CC0, public domain or CC BY; ``brainmap/data/sample_photographs/ATTRIBUTION.txt`` names every author.

    Examples
    --------
    >>> import brainmap
    >>> stimuli = brainmap.sample_stimuli()
    >>> len(stimuli), stimuli.table["source"].nunique()
    (600, 75)
    >>> sorted(stimuli.table["category"].unique())
    ['animal', 'building', 'landscape', 'object', 'plant']
    """
    stimuli = StimulusSet.from_zip(FOLDER / "photographs.zip", FOLDER / "table.tsv")
    for column in ("left", "top", "side"):  # tables are read as text
        stimuli.table[column] = stimuli.table[column].astype(int)
    return stimuli


def attribution() -> str:
    """Sources, authors and licences of the embedded photographs, as text."""
    return (FOLDER / "ATTRIBUTION.txt").read_text(encoding="utf-8")
