"""What is planted is there, nothing else is, and the same seed gives the same bits. All responses are simulated."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from brainmap.common.errors import InputError
from brainmap.data.simulation import (
    GroundTruth,
    SimulationConfig,
    simulate,
    simulated_fmri,
    simulated_meg,
    toy_features,
)
from brainmap.data.simulation.drives import (
    gradient_drives,
    layer_drives,
    left_singular_of_features,
    nuisance_basis,
    ridge_smoother,
)
from brainmap.data.simulation.latents import make_latents

CONFIG = SimulationConfig.small(subjects=("S1", "S2"), every=8)


@pytest.fixture(scope="module")
def toy():
    return toy_features(sources=60, layers=6, width=24)


@pytest.fixture(scope="module")
def study(toy):
    features, table = toy
    return simulate(features, table, seed=3, config=CONFIG)


def arrays(features, signal):
    return [array for (kind, _), array in features.items() if kind == signal]


def held_out_r(X, Y, groups):
    """Mean held-out r of each target, scikit-learn's ridge with one α per target, folds grouped by photograph."""
    scores = np.zeros(Y.shape[1])
    for train, test in GroupKFold(5).split(X, groups=groups):
        mean, scale = X[train].mean(0), X[train].std(0)
        model = RidgeCV(np.logspace(0, 5, 6), alpha_per_target=True).fit((X[train] - mean) / scale, Y[train])
        predicted = model.predict((X[test] - mean) / scale)
        scores += [np.corrcoef(p, y)[0, 1] / 5 for p, y in zip(predicted.T, Y[test].T, strict=True)]
    return scores


# -- drives -----------------------------------------------------------------------------------------------------------


def test_smoother_is_ridge_regression_with_the_asked_degrees_of_freedom():
    x = np.random.default_rng(0).standard_normal((50, 12))
    u, s = left_singular_of_features(x)
    smoother = ridge_smoother(u, s, 5.0)
    assert smoother.shrinkage.sum() == pytest.approx(5.0)
    z = (x - x.mean(0)) / x.std(0)
    alpha = s[0] ** 2 * (1 / smoother.shrinkage[0] - 1)
    expected = z @ np.linalg.solve(z.T @ z + alpha * np.eye(12), z.T)
    np.testing.assert_allclose(smoother.within(np.eye(50)), expected, atol=1e-10)


def test_wide_features_give_the_same_singular_vectors_as_their_kernel():
    x = np.random.default_rng(0).standard_normal((20, 90))
    u, s = left_singular_of_features(x)
    z = (x - x.mean(0)) / x.std(0)
    np.testing.assert_allclose((u * s**2) @ u.T, z @ z.T, atol=1e-8)


def test_layer_drives_are_whitened_parts_of_their_layer(toy):
    activations = arrays(toy[0], "activation")
    drives = layer_drives(activations, 4)
    for layer, drive in zip(activations, drives, strict=True):
        np.testing.assert_allclose(drive.mean(0), 0.0, atol=1e-10)
        np.testing.assert_allclose(drive.T @ drive / len(drive), np.eye(4), atol=1e-10)
        u, _ = left_singular_of_features(layer)
        np.testing.assert_allclose(u @ (u.T @ drive), drive, atol=1e-8)


def test_each_layer_predicts_its_own_drives_best_and_distant_layers_worse(toy):
    features, table = toy
    activations = arrays(features, "activation")
    drives = layer_drives(activations, 4)
    noise = np.random.default_rng(0).standard_normal((len(table), 24)) * 1.2
    Y = np.concatenate(list(drives), axis=1) + noise
    r = np.stack([held_out_r(x, Y, table["source"]) for x in activations]).reshape(6, 6, 4).mean(2)
    np.testing.assert_array_equal(r.argmax(axis=0), np.arange(6))
    for k in range(6):
        assert r[k, k] - min(r[0, k], r[-1, k]) > 0.05


def test_gradient_drives_hold_nothing_of_the_activations_or_of_gradient_norms(toy):
    features, table = toy
    activations, gradients = arrays(features, "activation"), arrays(features, "gradient")
    drives = gradient_drives(gradients, activations, 5)
    np.testing.assert_allclose(drives.T @ drives / len(drives), np.eye(5), atol=1e-10)
    basis = nuisance_basis(activations, gradients)
    np.testing.assert_allclose(basis.T @ drives, 0.0, atol=1e-8)
    norm = np.linalg.norm(gradients[2], axis=1)
    assert np.abs(np.corrcoef(norm, drives.T)[0, 1:]).max() < 1e-6
    assert max(held_out_r(x, drives, table["source"]).mean() for x in activations) < 0.05
    assert min(held_out_r(g, drives, table["source"]).mean() for g in gradients) > 0.5


# -- fMRI -------------------------------------------------------------------------------------------------------------


def test_noiseless_fmri_has_variance_one_and_the_planted_shares(study):
    truth: GroundTruth = study["truth"]
    np.testing.assert_allclose(truth.noiseless("fmri", "S1").var(0), 1.0, rtol=1e-4)
    planted = truth.vertices["roi"].isin(CONFIG.gradient_areas).to_numpy()
    part = truth.noiseless("fmri", "S1", parts=("gradient",)).var(0)
    assert (part[~planted] == 0).all()
    model = 1 - CONFIG.unmodelled_share
    assert part[planted].mean() == pytest.approx(CONFIG.gradient_share * model, abs=0.12)
    assert truth.noiseless("fmri", "S1", parts=("unmodelled",)).var(0).mean() == pytest.approx(1 - model, abs=0.06)


def test_planted_depth_grows_with_the_distance_from_v1():
    config = SimulationConfig()
    areas = simulated_fmri.planted_areas(config, 0, gradient=True)
    assert stats.pearsonr(areas["distance_mm"], areas["depth"])[0] > 0.8
    assert areas.loc[areas["roi"] == "V1", "depth"].tolist() == [0.0]
    assert set(areas.loc[areas["gradient_share"] > 0, "roi"]) == set(config.gradient_areas)
    late = areas.set_index("roi")["distance_mm"]
    assert late[list(config.gradient_areas)].min() > late["V4"]


def test_v1_is_driven_by_shallow_and_far_areas_by_deep_layers(study):
    truth = study["truth"]
    weights = truth.arrays["fmri/S1/weights"]
    by_layer = np.stack([(weights[truth.arrays["latent_layer"] == k] ** 2).sum(0) for k in range(6)])
    assert (
        by_layer[:2, (truth.vertices["roi"] == "V1").to_numpy()].sum()
        > 0.99 * by_layer[:, truth.vertices["roi"] == "V1"].sum()
    )
    strongest = by_layer.argmax(0) / 5
    assert np.corrcoef(strongest, truth.vertices["depth"])[0, 1] > 0.95


def test_fmri_ceiling_is_the_correlation_of_averages_with_the_noiseless_responses(study):
    truth, responses = study["truth"], study["fmri"]["S1"]
    averaged = responses.average_repeats()
    order = pd.Index(truth.arrays["stimulus"]).get_indexer(averaged.trials["stimulus"])
    noiseless = truth.noiseless("fmri", "S1")[order]
    measured = [np.corrcoef(a, b)[0, 1] for a, b in zip(averaged.block().T, noiseless.T, strict=True)]
    error = np.array(measured) - truth.ceiling("fmri", "S1")
    assert abs(error.mean()) < 0.01
    assert np.abs(error).max() < 0.15
    v1 = (truth.vertices["roi"] == "V1").to_numpy()
    assert truth.ceiling("fmri", "S1")[v1].mean() > truth.ceiling("fmri", "S1")[~v1].mean()


def test_weights_and_noise_are_smooth_over_the_mesh(toy):
    features, table = toy
    config = dataclasses.replace(CONFIG, every=1, areas=("V1", "V2", "44"), gradient_areas=("44",), subjects=("S1",))
    latents = make_latents(features, table, config, 0)
    plan = simulated_fmri.plan_fmri(config, simulated_fmri.planted_areas(config, 0, gradient=True), 6)
    weights = simulated_fmri.fmri_weights(plan, latents, config, 0, 0)
    rng = np.random.default_rng(0)
    images = np.zeros(400, dtype=int)
    noise = simulated_fmri.fmri_responses(
        np.zeros((1, len(plan.depth)), np.float32), images, np.full(len(plan.depth), 0.5), plan, rng
    )
    noise /= noise.std(0)
    adjacency = plan.smoother.tocoo()
    near = adjacency.row != adjacency.col
    a, b = adjacency.row[near], adjacency.col[near]
    far = np.random.default_rng(1).permutation(b)
    noiseless = latents.values @ weights
    for signal in (noise, noiseless):
        beside = (signal[:, a] * signal[:, b]).mean(0).mean()
        apart = (signal[:, a] * signal[:, far]).mean(0).mean()
        assert beside > 0.3
        assert abs(apart) < 0.2


# -- MEG --------------------------------------------------------------------------------------------------------------


def sarvas(position, origin, moment):
    """Full field of a current dipole in a sphere outside it (Sarvas 1987, eq. 25), without μ0/4π."""
    a = position - origin
    la, lr = np.linalg.norm(a), np.linalg.norm(position)
    f = la * (lr * la + lr**2 - origin @ position)
    gradient = (la**2 / lr + a @ position / la + 2 * la + 2 * lr) * position
    gradient -= (la + 2 * lr + a @ position / la) * origin
    cross = np.cross(moment, origin)
    return (f * cross - (cross @ position) * gradient) / f**2


def test_dipole_field_is_the_radial_part_of_sarvas_formula():
    sensors = pd.DataFrame(np.random.default_rng(0).standard_normal((30, 3)), columns=list("xyz"))
    sensors *= 0.12 / np.linalg.norm(sensors.to_numpy(), axis=1)[:, None]
    centre = simulated_meg.head_centre(sensors)
    np.testing.assert_allclose(centre, 0.0, atol=1e-10)
    origin = np.array([0.03, -0.04, 0.05])
    direction = np.array([0.2, 0.7, -0.4])
    field = simulated_meg.dipole_field(sensors, origin[None], direction[None])[0]
    moment = np.cross(direction, origin)
    moment = np.cross(origin, moment / np.linalg.norm(moment)) / (origin @ origin)  # so that Q × r0 is the unit moment
    expected = []
    for position in sensors.to_numpy():
        outward = position / np.linalg.norm(position)
        far = position + simulated_meg.BASELINE_M * outward
        expected.append(sarvas(position, origin, moment) @ outward - sarvas(far, origin, moment) @ outward)
    np.testing.assert_allclose(field, expected, rtol=1e-8)


def test_layers_peak_one_after_the_other():
    times = np.arange(-0.2, 2.0, 0.005)
    power = simulated_meg.layer_power(times, np.linspace(0, 1, 12))
    peaks = times[power.argmax(axis=1)]
    assert (np.diff(peaks) >= 0).all()
    assert peaks[0] < 0.13
    assert 0.38 < peaks[-1] < 0.45
    assert (power[:, times < 0.05] == 0).all()
    assert power.sum(0).max() == pytest.approx(1.0, abs=1e-6)


def test_gradient_power_stays_inside_its_window():
    times = SimulationConfig().time_axis()
    power = simulated_meg.gradient_power(times, (0.5, 1.7))
    inside = (times >= 0.5) & (times <= 1.7)
    assert (power[~inside] == 0).all()
    assert (power[inside] > 0.25).all()
    course = simulated_meg.gradient_power(times, SimulationConfig().gradient_window)
    assert times[course.argmax()] == simulated_meg.LAST_PEAK  # when the last layer's activations drive most
    late = (times > 0.8) & (times < 1.6)
    assert (np.diff(course[late]) < 0).all() and course[late].min() > 0.45 * course.max()


def test_meg_variance_over_sensors_follows_the_plan(study):
    truth = study["truth"]
    shape = (-1, len(truth.times))
    model = 1 - CONFIG.unmodelled_share
    for part, column, share in (("activation", "activation_power", model), ("gradient", "gradient_power", model)):
        variance = truth.noiseless("meg", "S1", parts=(part,)).var(0, dtype=float).reshape(shape).mean(0)
        np.testing.assert_allclose(variance, CONFIG.meg_snr * share * truth.times[column], rtol=1e-4, atol=1e-9)


def test_meg_noise_has_variance_one_and_the_autocorrelation_of_its_process(toy):
    features, table = toy
    config = dataclasses.replace(CONFIG, sensor_every=8)
    latents = make_latents(features, table, config, 0)
    plan = simulated_meg.plan_meg(config, simulated_fmri.planted_areas(config, 0, gradient=True), latents, 0)
    n_sensors, n_times = len(plan.sensors), len(plan.times)
    silent = np.zeros((1, n_sensors * n_times), np.float32)
    noise = simulated_meg.meg_responses(silent, np.zeros(3000, int), plan, config, np.random.default_rng(0))
    noise = noise.reshape(3000, n_sensors, n_times)
    np.testing.assert_allclose(noise.var(0).mean(1), 1.0, atol=0.03)
    lag = (noise[:, :, 1:] * noise[:, :, :-1]).mean()
    assert lag == pytest.approx(np.exp(-1 / (config.sampling_rate * simulated_meg.NOISE_TIME)), abs=0.01)
    between = np.corrcoef(noise[:, :, 5].T)[~np.eye(n_sensors, dtype=bool)]
    assert np.abs(between).mean() > 0.05


def test_meg_ceiling_is_the_correlation_of_averages_with_the_noiseless_responses(study):
    truth, responses = study["truth"], study["meg"]["S2"]
    averaged = responses.average_repeats()
    order = pd.Index(truth.arrays["stimulus"]).get_indexer(averaged.trials["stimulus"])
    noiseless, ceiling = truth.noiseless("meg", "S2")[order], truth.ceiling("meg", "S2")
    driven = noiseless.std(0) > 0
    measured = [np.corrcoef(a, b)[0, 1] for a, b in zip(averaged.block().T[driven], noiseless.T[driven], strict=True)]
    assert abs((np.array(measured) - ceiling[driven]).mean()) < 0.01
    assert (ceiling[~driven] == 0).all()
    assert (~driven).sum() == len(responses.targets[responses.targets["time"] < 0.05])


# -- what an analysis finds -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recovered(toy, study):
    """Held-out r with plain ridge: modality → signal → (layers, targets), mean over subjects."""
    features, table = toy
    found = {}
    for modality in ("fmri", "meg"):
        means = []
        for responses in study[modality].values():
            averaged = responses.average_repeats()
            order = pd.Index(table["stimulus"]).get_indexer(averaged.trials["stimulus"])
            Y, groups = averaged.block(), table["source"].to_numpy()[order]
            acts = [x[order] for x in arrays(features, "activation")]
            grads = [x[order] for x in arrays(features, "gradient")]
            both = [np.concatenate([a, g], axis=1) for a, g in zip(acts, grads, strict=True)]
            means.append([[held_out_r(x, Y, groups) for x in space] for space in (acts, both)])
        found[modality] = dict(zip(("activation", "both"), np.mean(means, axis=0), strict=True))
    return found


def test_plain_ridge_recovers_the_spatial_order(study, recovered):
    truth = study["truth"]
    best = recovered["fmri"]["activation"].argmax(0) / 5
    by_area = pd.Series(best).groupby(truth.vertices["roi"]).mean()
    distance = truth.areas.set_index("roi")["distance_mm"].loc[by_area.index]
    r, p = stats.pearsonr(distance, by_area)
    assert r > 0.5
    assert p < 0.01


def test_plain_ridge_recovers_the_temporal_order(study, recovered):
    truth = study["truth"]
    times = truth.times["time"].to_numpy()
    curve = recovered["meg"]["activation"].reshape(6, -1, len(times)).mean(1)
    t_max = [times[row >= 0.95 * row.max()].mean() for row in curve]
    assert stats.pearsonr(np.arange(6), t_max)[0] > 0.8


def test_gradients_add_where_and_when_they_were_planted(study, recovered):
    truth = study["truth"]
    gain = {modality: (both["both"] - both["activation"]).mean(0) for modality, both in recovered.items()}
    by_area = pd.Series(gain["fmri"]).groupby(truth.vertices["roi"]).mean()
    planted = by_area.index.isin(truth.gradient_areas)
    assert by_area[planted].min() > 0.1
    assert by_area[~planted].max() < 0.03
    times = truth.times["time"].to_numpy()
    over_time = gain["meg"].reshape(-1, len(times)).mean(0)
    core = (times > 0.6) & (times < 1.6)
    assert over_time[core].mean() > 0.03
    assert over_time[times < 0.3].mean() < 0.01


# -- bookkeeping ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(toy, study):
    features, table = toy
    again = simulate(features, table, seed=3, config=CONFIG)
    other = simulate(features, table, seed=4, config=CONFIG)
    for modality in ("fmri", "meg"):
        for subject in CONFIG.subjects:
            same, different = again[modality][subject], other[modality][subject]
            assert same.values.tobytes() == study[modality][subject].values.tobytes()
            assert same.trials.equals(study[modality][subject].trials)
            assert different.values.tobytes() != same.values.tobytes()


def test_subjects_and_modalities_do_not_change_one_another(toy, study):
    features, table = toy
    alone = simulate(features, table, seed=3, config=dataclasses.replace(CONFIG, subjects=("S1",), modalities=("meg",)))
    assert set(alone) == {"meg", "truth"}
    assert alone["meg"]["S1"].values.tobytes() == study["meg"]["S1"].values.tobytes()


def test_responses_are_labelled_and_complete(toy, study):
    _, table = toy
    for modality in ("fmri", "meg"):
        for subject, responses in study[modality].items():
            assert responses.simulated
            assert responses.subject == subject
            assert responses.info["dataset"] == "simulation"
            assert responses.values.dtype == np.float32
            assert responses.trials["stimulus"].value_counts().eq(CONFIG.repeats).all()
            assert set(responses.trials["stimulus"]) == set(table["stimulus"])
            assert not responses.trials.duplicated(["stimulus", "repeat"]).any()
            assert len(responses.check()) == 0
    sensors = study["meg"]["S1"].targets
    n_times = sensors["time"].nunique()
    assert (sensors["sensor"].to_numpy().reshape(-1, n_times) == sensors["sensor"].to_numpy()[::n_times, None]).all()
    assert "simulated" in repr(study["truth"])


def test_without_gradients_none_are_planted(toy):
    features, table = toy
    activations = {key: value for key, value in features.items() if key[0] == "activation"}
    truth = simulate(activations, table, config=SimulationConfig.small())["truth"]
    assert truth.gradient_areas == ()
    assert truth.gradient_window is None
    assert (truth.areas["gradient_share"] == 0).all()
    assert (truth.times["gradient_power"] == 0).all()
    np.testing.assert_allclose(truth.noiseless("fmri", "S1").var(0), 1.0, rtol=1e-4)


def test_earlier_gradients_drive_what_the_model_leaves_unexplained_where_gradients_are_planted(toy, study):
    features, table = toy
    before = toy_features(sources=60, layers=6, width=24, seed=1)[0]
    earlier = {("earlier gradient", layer): x for (signal, layer), x in before.items() if signal == "gradient"}
    both = simulate(features | earlier, table, seed=3, config=CONFIG)
    truth, planted = both["truth"], study["truth"].vertices["roi"].isin(CONFIG.gradient_areas).to_numpy()
    part = truth.noiseless("fmri", "S1", parts=("earlier gradient",)).var(0)
    assert (part[~planted] == 0).all()
    assert part[planted].mean() == pytest.approx(CONFIG.unmodelled_share, abs=0.1)
    assert (truth.noiseless("fmri", "S1", parts=("unmodelled",)).var(0)[planted] < 1e-9).all()
    np.testing.assert_allclose(
        both["fmri"]["S1"].values[:, ~planted], study["fmri"]["S1"].values[:, ~planted], atol=1e-5
    )
    course = truth.noiseless("meg", "S1", parts=("earlier gradient",)).var(0).reshape(-1, len(truth.times)).mean(0)
    times = truth.times["time"].to_numpy()
    start, stop = truth.gradient_window
    assert (course[(times < start) | (times > stop)] == 0).all()
    late = held_out_r(before["gradient", "block.5"], truth.arrays["latents"][:, -6:], table["source"])
    assert late.mean() > 0.5


def test_truth_is_saved_and_loaded(study, tmp_path):
    truth = study["truth"]
    truth.save(tmp_path / "truth")
    again = GroundTruth.load(tmp_path / "truth")
    assert (again.seed, again.layers, again.gradient_areas) == (truth.seed, truth.layers, truth.gradient_areas)
    assert again.gradient_window == truth.gradient_window
    assert again.config == truth.config
    for name in ("areas", "vertices", "times"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(truth, name), check_dtype=False)
    np.testing.assert_array_equal(again.noiseless("meg", "S2"), truth.noiseless("meg", "S2"))
    report = again.to_report()
    assert report["simulated"] is True
    assert report["residual_areas"] == ["TE2p", "TPOJ1"]
    assert report["residual_window"] == [0.3, 1.7]
    with pytest.raises(InputError, match="has no fmri/S9/weights"):
        truth.noiseless("fmri", "S9")


def test_noise_is_added_in_blocks():
    plan = simulated_fmri.plan_fmri(CONFIG, simulated_fmri.planted_areas(CONFIG, 0, gradient=True), 6)
    n = len(plan.depth)
    noiseless, images = np.zeros((1000, n), np.float32), np.tile(np.arange(1000), 8)
    tracemalloc.start()
    values = simulated_fmri.fmri_responses(noiseless, images, np.full(n, 0.5), plan, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * values.nbytes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient_share": 1.5}, "Shares of variance lie between 0 and 1"),
        ({"fmri_ceiling": (0.5, 1.0)}, "Noise ceilings lie between 0 and 1"),
        ({"areas": ("V2", "MT"), "gradient_areas": ()}, "must include V1"),
        ({"gradient_areas": ("FFC", "A1")}, "gradient area 'A1' is not among"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"modalities": ("eeg",)}, "modalities among 'fmri' and 'meg'"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SimulationConfig(**changes)


def test_features_that_do_not_fit_are_refused(toy):
    features, table = toy
    with pytest.raises(InputError, match=r"activation of layer 'block\.0' has shape \(480, 24\) for 479 images"):
        simulate(features, table.iloc[:-1])
    with pytest.raises(InputError, match="needs activations"):
        simulate({}, table)
    with pytest.raises(InputError, match="no column 'source'"):
        simulate(features, table.drop(columns="source"))
    broken = features["activation", "block.0"].copy()
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match=r"activation of layer 'block\.0' has NaN"):
        simulate(features | {("activation", "block.0"): broken}, table)
    with pytest.raises(InputError, match="is constant over the images"):
        simulate(features | {("activation", "block.0"): np.ones((480, 3))}, table)
