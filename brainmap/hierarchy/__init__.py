"""What the scores say: order of layers in space and in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "Agreement": "brainmap.hierarchy.order",
    "agreement": "brainmap.hierarchy.order",
    "best_layer": "brainmap.hierarchy.spatial",
    "centre_of_mass": "brainmap.hierarchy.spatial",
    "distance_to": "brainmap.hierarchy.spatial",
    "spatial_hierarchy": "brainmap.hierarchy.spatial",
    "peak_window_time": "brainmap.hierarchy.temporal",
    "temporal_hierarchy": "brainmap.hierarchy.temporal",
    "time_courses": "brainmap.hierarchy.temporal",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.hierarchy.order import Agreement, agreement
    from brainmap.hierarchy.spatial import best_layer, centre_of_mass, distance_to, spatial_hierarchy
    from brainmap.hierarchy.temporal import peak_window_time, temporal_hierarchy, time_courses

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
