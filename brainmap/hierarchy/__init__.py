"""What the scores say: order of layers in space and in time, over training, and against properties of the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "Agreement": "brainmap.hierarchy.order",
    "agreement": "brainmap.hierarchy.order",
    "Resampling": "brainmap.hierarchy.resampling",
    "SpatialOptions": "brainmap.hierarchy.spatial",
    "best_layer": "brainmap.hierarchy.spatial",
    "centre_of_mass": "brainmap.hierarchy.spatial",
    "distance_to": "brainmap.hierarchy.spatial",
    "spatial_hierarchy": "brainmap.hierarchy.spatial",
    "top_areas": "brainmap.hierarchy.spatial",
    "cortex_areas": "brainmap.hierarchy.areas",
    "geodesic_distance": "brainmap.hierarchy.areas",
    "geodesic_to_areas": "brainmap.hierarchy.areas",
    "SpinTest": "brainmap.hierarchy.spin",
    "random_rotations": "brainmap.hierarchy.spin",
    "spin_test": "brainmap.hierarchy.spin",
    "spins": "brainmap.hierarchy.spin",
    "Lag": "brainmap.hierarchy.temporal",
    "TemporalOptions": "brainmap.hierarchy.temporal",
    "onset_latency": "brainmap.hierarchy.latencies",
    "peak_lag": "brainmap.hierarchy.temporal",
    "peak_window_time": "brainmap.hierarchy.latencies",
    "temporal_by": "brainmap.hierarchy.temporal",
    "temporal_hierarchy": "brainmap.hierarchy.temporal",
    "time_courses": "brainmap.hierarchy.temporal",
    "order_generalisation": "brainmap.hierarchy.temporal",
    "DynamicsOptions": "brainmap.hierarchy.dynamics",
    "HalfTime": "brainmap.hierarchy.dynamics",
    "half_time": "brainmap.hierarchy.dynamics",
    "half_times": "brainmap.hierarchy.dynamics",
    "SpinOptions": "brainmap.hierarchy.properties",
    "compare_properties": "brainmap.hierarchy.properties",
    "compare_vertices": "brainmap.hierarchy.properties",
    "parcel_means": "brainmap.hierarchy.properties",
    "read_map": "brainmap.hierarchy.properties",
    "FactorModel": "brainmap.hierarchy.factors",
    "factor_model": "brainmap.hierarchy.factors",
    "factor_table": "brainmap.hierarchy.factors",
    "HypothesisOptions": "brainmap.hierarchy.hypotheses",
    "evaluate_hypotheses": "brainmap.hierarchy.hypotheses",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.hierarchy.areas import cortex_areas, geodesic_distance, geodesic_to_areas
    from brainmap.hierarchy.dynamics import DynamicsOptions, HalfTime, half_time, half_times
    from brainmap.hierarchy.factors import FactorModel, factor_model, factor_table
    from brainmap.hierarchy.hypotheses import HypothesisOptions, evaluate_hypotheses
    from brainmap.hierarchy.latencies import onset_latency, peak_window_time
    from brainmap.hierarchy.order import Agreement, agreement
    from brainmap.hierarchy.properties import (
        SpinOptions,
        compare_properties,
        compare_vertices,
        parcel_means,
        read_map,
    )
    from brainmap.hierarchy.resampling import Resampling
    from brainmap.hierarchy.spatial import (
        SpatialOptions,
        best_layer,
        centre_of_mass,
        distance_to,
        spatial_hierarchy,
        top_areas,
    )
    from brainmap.hierarchy.spin import SpinTest, random_rotations, spin_test, spins
    from brainmap.hierarchy.temporal import (
        Lag,
        TemporalOptions,
        order_generalisation,
        peak_lag,
        temporal_by,
        temporal_hierarchy,
        time_courses,
    )

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
