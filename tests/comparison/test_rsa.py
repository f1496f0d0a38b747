from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rsatoolbox.inference import boot_noise_ceiling
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from brainmap.common.errors import InputError
from brainmap.comparison import RSAResult, rsa, rsa_difference
from brainmap.comparison.rdm_ceiling import noise_ceiling
from brainmap.comparison.representations import dissimilarities, representations
from brainmap.data.brain_rdms import BrainRDMs
from brainmap.report import plot_rsa

N_IMAGES = 30


class Layers(dict):
    """Features of a simulated model: block.1 resembles the brain area 'late', block.0 nothing."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.depths = {"block.0": 0.0, "block.1": 1.0}


def simulated(seed: int = 0) -> tuple[Layers, BrainRDMs]:
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((N_IMAGES, 5))
    features = Layers(
        {
            ("activation", "block.0"): rng.standard_normal((N_IMAGES, 20)),
            ("activation", "block.1"): latent @ rng.standard_normal((5, 20)),
        }
    )
    mixing = rng.standard_normal((5, 40))
    late = [np.corrcoef(latent @ mixing + 3 * rng.standard_normal((N_IMAGES, 40))) for _ in range(6)]
    early = [np.corrcoef(rng.standard_normal((N_IMAGES, 40))) for _ in range(6)]
    rdms = {"early": 1 - np.stack(early), "late": 1 - np.stack(late)}
    return features, BrainRDMs(rdms, source="test", simulated=True)


@pytest.fixture(scope="module")
def result() -> RSAResult:
    return rsa(*simulated(), n_bootstrap=200)


@pytest.mark.parametrize(("distance", "oracle"), [("correlation", "correlation"), ("euclidean", "sqeuclidean")])
def test_dissimilarities_are_those_of_scipy(distance: str, oracle: str) -> None:
    values = np.random.default_rng(0).standard_normal((8, 30))
    expected = pdist(values, oracle) / (1 if distance == "correlation" else 30)
    np.testing.assert_allclose(dissimilarities(values, distance), expected, atol=1e-12)


def test_rho_is_spearmans_with_the_mean_rdm(result: RSAResult) -> None:
    features, brain = simulated()
    for row in result.table.itertuples():
        model = pdist(features[row.signal, row.layer], "correlation")
        mean = squareform(brain[row.area].mean(axis=0), checks=False)
        assert row.rho == pytest.approx(spearmanr(model, mean).statistic, abs=1e-12)
        single = [spearmanr(model, squareform(one, checks=False)).statistic for one in brain[row.area]]
        assert row.rho_subjects == pytest.approx(np.mean(single), abs=1e-12)


def test_the_planted_layer_and_area_are_found(result: RSAResult) -> None:
    table = result.table.set_index(["area", "layer"])
    assert table.loc[("late", "block.1"), "low"] > 0.3
    assert table.loc[("late", "block.1"), "p_fwer"] == pytest.approx(1 / 201)
    for key in [("early", "block.0"), ("early", "block.1"), ("late", "block.0")]:
        assert table.loc[key, "low"] < 0 < table.loc[key, "high"] and table.loc[key, "p_fwer"] > 0.05
    assert list(result.best()["layer"])[1] == "block.1"
    assert "late: block.1" in repr(result) and "simulated" in repr(result)


def test_results_repeat_for_the_same_seed_only(result: RSAResult) -> None:
    again, other = (rsa(*simulated(), n_bootstrap=200, seed=seed) for seed in (0, 1))
    pd.testing.assert_frame_equal(result.table, again.table, check_exact=True)
    assert (other.table["rho"] == result.table["rho"]).all() and (other.table["low"] != result.table["low"]).any()


def test_frame_carries_ceilings_and_provenance(result: RSAResult) -> None:
    frame = result.to_frame()
    assert list(frame["depth"]) == [0.0, 1.0, 0.0, 1.0]
    assert frame["ceiling_attainable"].iloc[2] == result.ceilings["late"].attainable
    for key in ("method", "distance", "n_bootstrap", "seed", "n_images", "simulated", "interval", "p", "source"):
        assert key in frame.attrs


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_ceiling_is_what_the_noise_free_rdm_attains(method: str) -> None:
    rng = np.random.default_rng(3)
    truth = rng.standard_normal(4000)
    subjects = truth + 3 * rng.standard_normal((8, 4000))
    ceiling = noise_ceiling(subjects, method)
    attained = np.corrcoef(truth, subjects.mean(axis=0))[0, 1]
    assert ceiling.attainable == pytest.approx(attained, abs=0.03)
    assert ceiling.attainable_low < attained < ceiling.attainable_high
    other = truth + 3 * rng.standard_normal((8, 4000))
    assert ceiling.reliability == pytest.approx(np.corrcoef(other.mean(axis=0), subjects.mean(axis=0))[0, 1], abs=0.03)
    single = np.mean([np.corrcoef(truth, one)[0, 1] for one in subjects])
    assert ceiling.lower < single < ceiling.upper


def test_ceiling_bounds_are_those_of_rsatoolbox() -> None:
    _, brain = simulated()
    bounds = boot_noise_ceiling(brain.to_rsatoolbox("late"), method="spearman")
    ceiling = noise_ceiling(brain.vectors("late"), "spearman")
    np.testing.assert_allclose([ceiling.lower, ceiling.upper], bounds, rtol=1e-12)
    assert np.isnan(noise_ceiling(brain.vectors("late")[:1]).upper)
    kendall = noise_ceiling(brain.vectors("late"), "kendall")
    assert kendall.lower < kendall.upper and np.isnan(kendall.reliability)


def test_difference_is_paired(result: RSAResult) -> None:
    features, brain = simulated()
    rng = np.random.default_rng(8)
    nearly = Layers({key: values + 0.01 * rng.standard_normal(values.shape) for key, values in features.items()})
    reordered = Layers({key: nearly[key] for key in reversed(list(nearly))})
    frame = rsa_difference(result, rsa(reordered, brain, n_bootstrap=200))
    assert frame["delta"].abs().max() < 0.01
    widths, alone = frame["high"] - frame["low"], result.table["high"] - result.table["low"]
    assert (widths < 0.1 * alone).all()  # the same images were drawn for both
    assert ((frame["low"] < frame["delta"]) & (frame["delta"] < frame["high"])).all()


def test_difference_refuses_results_that_are_not_paired(result: RSAResult) -> None:
    features, brain = simulated()
    with pytest.raises(InputError, match="differ in seed"):
        result.difference(rsa(features, brain, n_bootstrap=200, seed=5))
    with pytest.raises(InputError, match="differ in brain"):
        result.difference(rsa(features, simulated(1)[1], n_bootstrap=200))
    with pytest.raises(InputError, match="no area and layer in common"):
        result.difference(rsa(features["activation", "block.0"], brain, n_bootstrap=200))


@pytest.mark.parametrize("method", ["pearson", "kendall"])
@pytest.mark.parametrize("distance", ["correlation", "euclidean"])
def test_other_methods_find_the_planted_layer(method: str, distance: str) -> None:
    features, brain = simulated()
    found = rsa(features, brain["late"], method=method, distance=distance, n_bootstrap=50).table
    assert found["area"].unique() == ["brain"] and found["low"].iloc[1] > 0.1 and found["p"].iloc[1] < 0.05


def test_plain_arrays_and_names() -> None:
    values = np.zeros((5, 2))
    assert [(s.signal, s.layer) for s in representations(values)] == [("features", "X")]
    named = representations({"pixels": values, ("gradient", "block.3"): values})
    assert [(s.signal, s.layer) for s in named] == [("features", "pixels"), ("gradient", "block.3")]
    assert np.isnan(named[1].depth)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "no features"),
        ({"a": np.zeros((30, 2)), "b": np.zeros((29, 2))}, "b have 29 rows and a 30"),
        (np.zeros(30), r"shape \(30,\)"),
        (np.random.default_rng(0).standard_normal((29, 4)), "29 rows, the brain RDMs 30 images"),
        (np.full((30, 4), np.nan), "nan at image 0, feature 0"),
        (np.arange(30.0)[:, None], "image 0 are all equal.*euclidean"),
    ],
)
def test_bad_features_are_named(features, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rsa(features, simulated()[1], n_bootstrap=10)


def test_bad_settings_are_named() -> None:
    features, brain = simulated()
    with pytest.raises(InputError, match="method 'cosine'"):
        rsa(features, brain, method="cosine")
    with pytest.raises(InputError, match="distance 'cosine'"):
        rsa(features, brain, distance="cosine")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="n_bootstrap is 1"):
        rsa(features, brain, n_bootstrap=1)
    flat = np.array(brain["late"])
    flat[1] = 1 - np.eye(len(flat[1]))
    with pytest.raises(InputError, match="equally far apart in the RDM of subject 1 of 'brain'"):
        rsa(features, flat, n_bootstrap=10)
    with pytest.raises(InputError, match="equally far apart"):
        rsa(np.repeat(np.ones((30, 1)), 2, axis=1), brain, distance="euclidean", n_bootstrap=10)


def test_the_figure_shows_every_number(result: RSAResult) -> None:
    features, brain = simulated()
    rng = np.random.default_rng(1)
    controls = rsa({"pixels": rng.standard_normal((N_IMAGES, 9))}, brain, n_bootstrap=50)
    baseline = rsa(Layers({key: rng.permutation(values) for key, values in features.items()}), brain, n_bootstrap=200)
    figure = plot_rsa(result, baseline=baseline, controls=controls, colors={"activation": "#ff0000"})
    assert isinstance(figure, Figure) and len(figure.axes) == 2
    assert figure.get_suptitle().startswith("Simulated: test")
    late = figure.axes[1]
    drawn = {line.get_label(): line for line in late.get_lines()}
    rows = result.table[result.table["area"] == "late"]
    np.testing.assert_allclose(drawn["trained"].get_ydata(), rows["rho"])
    np.testing.assert_allclose(drawn["trained"].get_xdata(), rows["depth"])
    assert drawn["trained"].get_color() == "#ff0000"
    np.testing.assert_allclose(drawn["untrained"].get_ydata(), baseline.table["rho"].iloc[2:])
    texts = [text.get_text() for text in late.texts]
    assert "pixels" in texts and any("noise ceiling" in text for text in texts)
    low, high = late.get_ylim()
    assert low < rows["low"].min() and rows["high"].max() < high


def test_layers_without_depth_are_drawn_in_their_order() -> None:
    features, brain = simulated()
    plain = {layer: values for (_, layer), values in features.items()}
    axes = plot_rsa(rsa(plain, brain, n_bootstrap=20)).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["block.0", "block.1"]


def test_groups_of_images_are_the_unit_where_they_are_given(result: RSAResult) -> None:
    features, brain = simulated()
    groups = np.repeat([f"source {k}" for k in range(10)], 3)
    grouped = rsa(features, brain, n_bootstrap=100, groups=groups)
    assert "10 groups of images" in grouped.info["interval"] and "10 groups" in grouped.info["p"]
    np.testing.assert_allclose(grouped.table["rho"], result.table["rho"])
    assert grouped.left_out["late"].shape == (10, 2)
    with pytest.raises(InputError, match="differ in groups"):
        rsa_difference(grouped, rsa(features, brain, n_bootstrap=100))
    uneven = np.repeat(np.arange(10), [1, 2, 2, 2, 3, 3, 3, 4, 5, 5])
    table = rsa(features, brain, n_bootstrap=50, groups=uneven)
    assert table.table["p"].isna().all() and "equal size" in table.info["p"] and table.table["low"].notna().all()
    with pytest.raises(InputError, match="at least 8 of them, here are 3"):
        rsa(features, brain, groups=np.repeat([0, 1, 2], 10))
    with pytest.raises(InputError, match=r"each of the 30 images; got shape \(29,\)"):
        rsa(features, brain, groups=np.arange(29))
