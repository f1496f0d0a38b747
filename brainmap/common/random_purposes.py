"""Purposes of random streams: the second entry of every seed, so that no two streams of one study are the same.

A stream is ``numpy.random.default_rng([seed, PURPOSE, ...])``. A number is never used again for another purpose, and
never changed: stored numbers depend on it. Streams that are keyed by a photograph (views, masks) and those of a
simulation, which has seeds of its own, count apart.
"""

from __future__ import annotations

# Per photograph: [seed, purpose, words of the photograph's id]
VIEW_CROPS, VIEW_MASKS, OBJECTIVE_MASKS = 1, 2, 3

# Representational comparison
RESAMPLED_IMAGES, RESAMPLED_PAIRS, PERMUTED_LABELS = 1, 2, 3

# Projections of features
PROJECTION_ROWS, PROJECTION_SIDES, PROJECTED_DIRECTIONS = 6, 7, 8

# Folds
OUTER_FOLDS, INNER_FOLDS = 11, 12

# Noise ceilings (11 and 12 until 0.2.0: those of the folds)
CEILING_BOOTSTRAP, CEILING_HALVES = 13, 14

# Gradients beyond activations
FLIPS, FLIP_BLOCKS, FLIP_NOISE, NONLINEAR_FEATURES = 21, 22, 23, 25

# Agreement of two columns (21 until 0.2.0: that of the flips)
RESAMPLED_ROWS = 24

# Planted studies
PLANTED_STUDY, PLANTED_NOISE = 31, 32

# Tests of scores
GROUP_ORDERS, SUBJECT_FLIPS, SHUFFLED_ROWS = 41, 42, 43

# Orders in space and time (53 to 55 until 0.2.0: intervals of orders that are no longer made)
RESAMPLED_CELLS, SPINS, SURROGATE_MAPS = 51, 52, 56

# Retrieval of photographs
EXCHANGED_PHOTOGRAPHS = 44

# Quality of a recording
CHOSEN_TARGETS = 61
