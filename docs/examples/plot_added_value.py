"""
Added value of gradients
========================

Do gradients explain what activations do not, and where?

:func:`~brainmap.statistics.residual` measures the gain in r of held-out data when gradients join activations, and
tests it with sign flips of whole photographs, corrected over areas. The simulation planted such a part in two areas.
"""

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.report.figures import residual_bars
from brainmap.statistics import ConditionalOptions, ResidualOptions, residual

features, table = toy_features(sources=80, crops=4)
brains = bm.simulate(features, table, config=SimulationConfig.small(repeats=6))
fmri = brains["fmri"]["S1"].average_repeats(table["stimulus"].to_numpy())
activations = {layer: values for (signal, layer), values in features.items() if signal == "activation"}
gradients = {layer: values for (signal, layer), values in features.items() if signal == "gradient"}

found = residual(
    activations,
    gradients,
    fmri.values,
    units=fmri.targets["roi"].to_numpy(),
    groups=table["source"].to_numpy(),
    options=(ResidualOptions(cv=5), ConditionalOptions(n_flips=1000)),
)
print(found.to_frame()[["unit", "delta", "low", "high", "p_fwer", "significant"]].round(3))
figure = residual_bars(found.table, planted=brains["truth"].gradient_areas, title="Simulated fMRI; rings: planted")
