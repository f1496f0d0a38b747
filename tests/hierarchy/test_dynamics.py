"""Half times, cortical properties and factor comparisons against planted truth, statsmodels and real cortical maps."""

from __future__ import annotations

import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import xarray as xr
from scipy import stats

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.atlas import load_atlas
from brainmap.hierarchy import (
    DynamicsOptions,
    Resampling,
    SpinOptions,
    compare_properties,
    compare_vertices,
    cortex_areas,
    factor_model,
    factor_table,
    half_time,
    half_times,
    parcel_means,
    read_map,
)
from brainmap.papers.training_scores import training_half_times

STEPS = np.array([0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600])


def sigmoid(middle: float, floor: float = 0.01, gain: float = 0.2, slope: float = 2.0) -> np.ndarray:
    x = np.log(np.where(STEPS == 0, 50, STEPS))
    return floor + gain / (1 + np.exp(-slope * (x - np.log(middle))))


def exact_half(middle: float, floor: float = 0.01, gain: float = 0.2, slope: float = 2.0) -> float:
    final = sigmoid(middle, floor, gain, slope)[-1]
    share = (final / 2 - floor) / gain
    return float(middle * (share / (1 - share)) ** (1 / slope))


@pytest.mark.parametrize("middle", [300.0, 1500.0, 5000.0])
def test_half_time_of_a_noiseless_sigmoid_is_exact(middle: float) -> None:
    found = half_time(STEPS, sigmoid(middle))
    assert found.step == pytest.approx(exact_half(middle), rel=1e-3)
    assert found.fraction == pytest.approx(found.step / 25600)
    assert found.fit_r2 == pytest.approx(1.0) and not found.failure
    assert np.isnan(found.low)  # one curve has no interval
    assert "step" in repr(found)


LONG = np.r_[0, np.geomspace(100, 1_000_000, 9)]
TRAINED = 1 / (1 + (12_000 / np.maximum(LONG, 50)) ** 2)  # slope 2 in ln step


@pytest.mark.parametrize(("floor", "end", "of_final"), [(0, 0.09, 12_000), (0.03, 0.09, 6_930), (0.09, 0.155, None)])
def test_half_of_the_gain_does_not_depend_on_the_untrained_score(floor, end, of_final) -> None:
    scores = floor + (end - floor) * TRAINED
    first = half_time(LONG, scores, baseline="first")
    assert first.step == pytest.approx(12_000, rel=2e-3) and (first.method, first.failure) == ("sigmoid", "")
    assert first.gain == pytest.approx(end - floor, rel=1e-3) and first.level == pytest.approx(
        (floor + end) / 2, rel=1e-3
    )
    zero = half_time(LONG, scores)
    if of_final is None:
        assert "already has half" in zero.failure
    else:
        assert zero.step == pytest.approx(of_final, rel=2e-3)
    fallen = half_time(LONG, -7 * scores, baseline="first")  # a score that falls loses half of the loss at that step
    assert fallen.step == pytest.approx(first.step, rel=1e-6) and fallen.gain < 0
    for found in (first, fallen):
        with pytest.raises(InputError, match="baseline is 'first' or 'zero', not 'last'"):
            half_time(LONG, scores, baseline="last")
        assert np.isfinite(found.fraction)


def test_curves_that_are_no_sigmoid_have_half_of_their_gain() -> None:
    steps = np.array([1.0, 10, 100, 1000, 10000])
    overshoot = half_time(steps, [0.0, 0.1, 0.9, 0.0, 0.2], baseline="first")
    # The nearest rising curve is 0, .1, .367, .367, .367; .1 is half of the gain of .2.
    assert (overshoot.method, overshoot.curve, overshoot.level) == ("interpolated", None, 0.1)
    assert overshoot.step == pytest.approx(10.0)
    dip = half_time(steps, [0.4, -0.9, 0.9, -0.9, 0.6], baseline="first")  # -.25, -.25, 0, 0, .6: half at .5
    assert dip.step == pytest.approx(10 ** (3 + 0.5 / 0.6)) and not dip.failure
    temporal = half_time(steps, [-0.3, -0.5, 0.1, 0.9, 0.96], baseline="first")
    assert temporal.method == "sigmoid" and 100 < temporal.step < 1000
    same = half_time(steps, [0.1, 0.9, -0.9, 0.9, 0.1], baseline="first")
    assert "gains 0 over training" in same.failure and np.isnan(same.step)
    rows = np.array([0.0, 0.1, 0.9, 0.0, 0.2]) + 0.01 * np.random.default_rng(0).standard_normal((6, 5))
    many = half_time(steps, rows, baseline="first")
    assert many.low < many.step < many.high
    noise = 0.1 * np.random.default_rng(1).standard_normal((6, 5))
    assert np.isnan(half_time(steps, noise - noise[:, :1].mean() + noise[:, -1:].mean(), baseline="first").low)


def test_half_time_intervals_cover_the_truth() -> None:
    covered, width = [], []
    for seed in range(40):
        noise = 0.03 * np.random.default_rng(seed).standard_normal((15, len(STEPS)))
        found = half_time(STEPS, sigmoid(1500.0) + noise, options=DynamicsOptions(resampling=Resampling(n=60)))
        covered.append(found.low <= exact_half(1500.0) <= found.high)
        width.append(found.high / found.low)
    assert np.mean(covered) > 0.85
    assert np.median(width) < 2.0


def test_half_times_that_do_not_exist_say_why() -> None:
    flat = half_time(STEPS, np.full(10, 0.1))
    assert "does not change" in flat.failure and np.isnan(flat.step) and "none" in repr(flat)
    assert "does not rise" in half_time(STEPS, 0.3 - sigmoid(800.0)).failure
    assert "first checkpoint" in half_time(STEPS, sigmoid(1500.0, floor=0.3)).failure
    assert "not above" in half_time(STEPS, sigmoid(1500.0) - 0.5).failure
    zigzag = np.tile([0.0, 0.1], 5) + 0.01 * np.arange(10)
    assert "explains only" in half_time(STEPS, zigzag).failure
    assert "missing" in half_time(STEPS, np.where(STEPS == 400, np.nan, sigmoid(800.0))).failure
    with pytest.raises(InputError, match="increasing"):
        half_time([1, 3, 2, 4], np.ones(4))
    with pytest.raises(InputError, match="4 steps"):
        half_time([1, 2, 3, 4], np.ones(5))


def test_half_times_keep_the_planted_order_of_areas() -> None:
    middles = np.geomspace(300, 6000, 6)
    curves = np.stack([sigmoid(m) for m in middles])
    noise = 0.01 * np.random.default_rng(0).standard_normal((3, 5, 6, len(STEPS)))
    dims = ("subject", "split", "roi", "step")
    scores = xr.DataArray(curves + noise, dims=dims, coords={"step": STEPS, "roi": list("abcdef")})
    table = half_times(scores, unit="roi", options=DynamicsOptions(resampling=Resampling(n=40)))
    assert table["unit"].tolist() == list("abcdef") and (table["failure"] == "").all()
    np.testing.assert_allclose(table["half_time"], [exact_half(m) for m in middles], rtol=0.25)
    assert table["half_time"].is_monotonic_increasing
    with pytest.raises(InputError, match="Half times need dims"):
        half_times(scores, unit="target")


def test_half_of_the_gain_keeps_the_planted_order_whatever_areas_score_untrained() -> None:
    middles, floors = np.geomspace(400, 6000, 6), np.array([0.0, 0.02, 0.05, 0.08, 0.03, 0.11])
    curves = np.stack([sigmoid(m, floor=f, gain=0.12) for m, f in zip(middles, floors, strict=True)])
    noise = 0.004 * np.random.default_rng(0).standard_normal((3, 5, 6, len(STEPS)))
    coords = {"step": STEPS, "unit": list("abcdef")}
    scores = xr.DataArray(curves + noise, dims=("subject", "split", "unit", "step"), coords=coords)
    first, zero = (training_half_times(scores, baseline) for baseline in ("first", "zero"))
    assert (first["failure"] == "").all() and first["half_time"].is_monotonic_increasing
    assert (first["baseline"] == "first").all() and (first["low"] < first["half_time"]).all()
    assert not zero["half_time"].is_monotonic_increasing  # the untrained scores are mixed in


def test_properties_of_areas_with_real_maps(shared_data) -> None:
    folder = shared_data / "cortical_maps_fsLR32k"
    names = pd.read_csv(folder / "glasser_regions.csv")["region"].str.strip()
    maps = pd.read_csv(folder / "brainmaps_glasser.csv").set_index(names)
    cortex = cortex_areas()
    maps.index = maps.index.str.replace("_ROI", "").str.replace(r"^[LR]_", "", regex=True)
    maps = maps[~maps.index.duplicated() & maps.index.isin(cortex["roi"])]
    assert len(maps) > 150
    properties = {name: maps[name] for name in ("T1T2ratio", "Cortical.Thickness")}
    values = maps["T1T2ratio"].iloc[:60]
    table = compare_properties(values, properties, cortex, n_surrogates=999).set_index("property")
    assert table.loc["T1T2ratio", "r"] == pytest.approx(1.0)
    assert table.loc["T1T2ratio", "p"] == pytest.approx(1 / 1000)
    expected = stats.pearsonr(values, maps["Cortical.Thickness"].iloc[:60])
    assert table.loc["Cortical.Thickness", "r"] == pytest.approx(expected.statistic)
    assert table.loc["Cortical.Thickness", "r"] < -0.3  # myelinated cortex is thin
    assert table.loc["Cortical.Thickness", "p"] > table.loc["Cortical.Thickness", "areas_p"]
    myelin = read_map(folder / "T1T2ratio.dscalar.nii")
    assert myelin.shape == (32492,) and np.isnan(myelin).sum() > 2000
    from brainmap.data.atlas import load_atlas, load_surface

    by_area = parcel_means(myelin, load_atlas()["L"])
    joint = maps["T1T2ratio"].index.intersection(by_area.index)
    assert np.corrcoef(by_area[joint], maps.loc[joint, "T1T2ratio"])[0, 1] > 0.95
    thickness = read_map(folder / "Cortical.Thickness.dscalar.nii")
    options = SpinOptions(n_spins=30)
    spin = compare_vertices(thickness, myelin, load_surface("L", "sphere")[0], options=options)
    known = np.isfinite(thickness) & np.isfinite(myelin)
    assert spin.r == pytest.approx(np.corrcoef(thickness[known], myelin[known])[0, 1])
    assert spin.p < 0.2


def test_maps_are_read_from_the_common_formats(tmp_path) -> None:
    values = np.arange(12.0)
    np.save(tmp_path / "map.npy", values)
    np.savetxt(tmp_path / "map.txt", values)
    nibabel.save(nibabel.MGHImage(values.astype("float32").reshape(12, 1, 1), np.eye(4)), tmp_path / "map.mgz")
    array = nibabel.gifti.GiftiDataArray(values.astype("float32"), intent="NIFTI_INTENT_SHAPE")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), tmp_path / "map.gii")
    nibabel.freesurfer.write_morph_data(tmp_path / "lh.thickness", values.astype("float32"))
    for name in ("map.npy", "map.txt", "map.mgz", "map.gii", "lh.thickness"):
        np.testing.assert_allclose(read_map(tmp_path / name), values)
    (tmp_path / "broken.mgz").write_bytes(b"not a map")
    with pytest.raises(InputError, match="cannot be read"):
        read_map(tmp_path / "broken.mgz")
    with pytest.raises(MissingFileError, match="no cortical map"):
        read_map(tmp_path / "absent.gii")
    with pytest.raises(InputError, match="resample"):
        parcel_means(np.zeros(32492), np.full(163842, "V1"))
    np.save(tmp_path / "unknown.npy", np.full(5, np.nan))
    (tmp_path / "empty.txt").write_text("")
    for name in ("unknown.npy", "empty.txt"):
        with pytest.raises(InputError, match="holds no values"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, about the empty file
            read_map(tmp_path / name)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 100.0])
def test_half_times_do_not_depend_on_the_unit_of_the_score(unit: float) -> None:
    steps = np.array([0, 100, 400, 1600, 6400])
    noise = 0.004 * np.random.default_rng(0).standard_normal((6, 5))
    scores = 0.02 + 0.3 / (1 + np.exp(-2 * np.log(np.maximum(steps, 50) / 400))) + noise
    options = DynamicsOptions(resampling=Resampling(n=40))
    found, scaled = (half_time(steps, scores * by, options=options) for by in (1.0, unit))
    assert found.step == pytest.approx(360, rel=0.1)  # of a curve with a floor of .02
    assert (scaled.step, scaled.low, scaled.high) == pytest.approx((found.step, found.low, found.high), rel=1e-3)
    assert scaled.final == pytest.approx(unit * found.final, rel=1e-3)
    for wrong in ([0, 1, np.nan, 3, 4], [0, 1, 2, 3, np.inf]):
        with pytest.raises(InputError, match="in increasing order"):
            half_time(wrong, scores)


def test_areas_named_by_numbers_or_not_at_all() -> None:
    cortex = cortex_areas()
    numbers = [int(name) for name in cortex.loc[cortex["hemisphere"] == "L", "roi"] if name.isdigit()]
    values = pd.Series(np.arange(float(len(numbers))), numbers)
    row = compare_properties(values, {"a": values**2}, cortex, n_surrogates=99).iloc[0]
    assert row["n"] == len(numbers) > 5 and row["r"] == pytest.approx(np.corrcoef(values, values**2)[0, 1])
    means = parcel_means([1.0, 3.0, 5.0, 7.0], ["V1", "V1", None, np.nan])
    assert means.to_dict() == {"V1": 2.0}
    with pytest.raises(InputError, match="at least 4 places"):
        compare_vertices(np.full(9, np.nan), np.zeros(9), np.random.default_rng(0).standard_normal((9, 3)))


def test_factor_model_equals_statsmodels_and_finds_planted_effects() -> None:
    rng = np.random.default_rng(0)
    values = 0.1 + 0.02 * rng.standard_normal((8, 1, 1)) + 0.004 * rng.standard_normal((8, 2, 3))
    values += np.array([0.0, 0.01])[:, None] + np.array([0.0, 0.02, 0.03])
    coords = {"subject": range(8), "size": ["S", "L"], "images": ["cells", "land", "human"]}
    scores = xr.DataArray(values, dims=("subject", "size", "images"), coords=coords, name="r")
    table = factor_table(scores, ["size", "images"])
    assert len(table) == 6 and table["mean"].iloc[0] == pytest.approx(values[:, 0, 0].mean())
    assert table["sem"].iloc[0] == pytest.approx(stats.sem(values[:, 0, 0]))
    frame = scores.to_dataframe().reset_index()
    model = factor_model(frame, "r ~ size * images")
    reference = smf.mixedlm("r ~ size * images", frame, groups=frame["subject"]).fit(reml=True)
    np.testing.assert_allclose(model.effects["estimate"], reference.fe_params)
    p = model.tests.set_index("term")["p"]
    assert p["size"] < 1e-3 and p["images"] < 1e-6 and p["size:images"] > 0.01
    assert model.n == 48 and model.n_groups == 8 and "size" in repr(model)
    with pytest.raises(InputError, match="cannot be fitted"):
        factor_model(frame, "r ~ nothing")
    with pytest.raises(InputError, match="no column"):
        factor_model(frame, "r ~ size", groups="person")


def test_factor_tests_are_those_of_contrasts_per_subject() -> None:
    rng = np.random.default_rng(1)
    values = 0.1 + 0.02 * rng.standard_normal((8, 1, 1)) + 0.01 * rng.standard_normal((8, 2, 3))
    coords = {"subject": range(8), "size": ["L", "S"], "images": ["cells", "human", "land"]}
    frame = xr.DataArray(values, dims=("subject", "size", "images"), coords=coords, name="r").to_dataframe()
    model = factor_model(frame.reset_index(), "r ~ size * images")
    by_subject = stats.ttest_1samp(values[:, 1, 0] - values[:, 0, 0], 0)
    found = model.effects.set_index("term").loc["size[T.S]"]
    assert [found["t"], found["df"], found["p"]] == pytest.approx([by_subject.statistic, 7, by_subject.pvalue])
    assert [found["low"], found["high"]] == pytest.approx(list(by_subject.confidence_interval(0.95)))
    # Hotelling's T² of the two interaction contrasts.
    contrast = values[:, 1] - values[:, 0]
    pair = contrast[:, 1:] - contrast[:, :1]
    squared = 8 * pair.mean(axis=0) @ np.linalg.solve(np.cov(pair.T), pair.mean(axis=0))
    joint = model.tests.set_index("term").loc["size:images"]
    assert [joint["F"], joint["df"], joint["df_error"]] == pytest.approx([squared * 6 / 14, 2, 6])
    assert joint["p"] == pytest.approx(stats.f.sf(squared * 6 / 14, 2, 6))
    few = factor_model(frame.loc[[0, 1]].reset_index(), "r ~ size * images")
    assert np.isnan(few.tests.set_index("term").loc["size:images", "p"]) and "too few" in few.warning


def test_steps_that_are_words_and_scores_without_names_are_one_sentence() -> None:
    with pytest.raises(InputError, match="Training steps must be numbers, such as 0, 100, 400; the first is 'early'"):
        half_time(["early", "b", "c", "d"], np.ones(4))
    with pytest.raises(InputError, match=r"Half times need scores as an xarray\.DataArray, not ndarray"):
        half_times(np.ones((3, 4)))  # type: ignore[arg-type]


def test_wrong_comparisons_of_properties_are_one_sentence() -> None:
    cortex = cortex_areas()
    values = pd.Series(np.arange(20.0), index=["V1", *cortex.query("hemisphere == 'L' and roi != 'V1'")["roi"][:19]])
    twice = pd.concat([values, values.iloc[:1]])
    with pytest.raises(InputError, match="The area 'V1' occurs twice in 'values'; give one value for each area"):
        compare_properties(twice, {"x": values}, cortex)
    with pytest.raises(InputError, match="The area 'V1' occurs twice in 'x'"):
        compare_properties(values, {"x": twice}, cortex)
    with pytest.raises(InputError, match="at least 1 rotation, and 1,000 are usual; n_spins is 0"):
        SpinOptions(0)
    maps = np.random.default_rng(0).standard_normal((2, 10))
    sphere = np.random.default_rng(1).standard_normal((10, 3))
    part = np.where(np.arange(10) < 5, maps[0], np.nan)
    with pytest.raises(InputError, match="covers 50% of the second, and a spin test of a part of the cortex finds too"):
        compare_vertices(part, maps[1], sphere, options=SpinOptions(20))
    with pytest.raises(InputError, match="The method 'kendall' is unknown; choose 'pearson' or 'spearman'"):
        compare_vertices(*maps, sphere, options=SpinOptions(20), method="kendall")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["x.gii", "x.mgh", "x.npy", "lh.thickness", "x.dscalar.nii", "x.nii.gz", "x.txt"])
def test_junk_is_no_map(tmp_path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    with pytest.raises(InputError, match=f"{name} cannot be read .+") as caught:
        read_map(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_zeros_of_the_medial_wall_are_no_values(tmp_path) -> None:
    wall = load_atlas()["L"] == ""
    values = np.where(wall, 0.0, np.random.default_rng(0).uniform(2.0, 3.0, len(wall)))
    values[np.flatnonzero(~wall)[:7]] = 0.0  # in cortex, 0 is a value
    array = nibabel.gifti.GiftiDataArray(values.astype(np.float32))
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), tmp_path / "x.shape.gii")
    nibabel.save(nibabel.MGHImage(values.astype(np.float32)[:, None, None], np.eye(4)), tmp_path / "x.mgh")
    for name in ("x.shape.gii", "x.mgh"):
        found = read_map(tmp_path / name)
        np.testing.assert_array_equal(np.isnan(found), wall)
        assert (found == 0).sum() == 7
        assert np.isnan(read_map(tmp_path / name, zeros_missing=True)).sum() == wall.sum() + 7
    np.save(tmp_path / "other.npy", np.r_[0.0, np.ones(10241)])  # a mesh whose medial wall is not known
    assert read_map(tmp_path / "other.npy")[0] == 0
    assert np.isnan(read_map(tmp_path / "other.npy", zeros_missing=True)[0])
    np.save(tmp_path / "none.npy", np.zeros(10242))
    with pytest.raises(InputError, match=r"none\.npy holds nothing but zeros that count as missing"):
        read_map(tmp_path / "none.npy", zeros_missing=True)


def test_labels_and_several_maps_are_not_taken_for_one_map(tmp_path) -> None:
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ScalarAxis

    model = BrainModelAxis.from_surface(np.arange(4), 6, "CortexLeft")
    values = np.arange(8.0, dtype="float32").reshape(2, 4)
    Cifti2Image(values, (ScalarAxis(["thin", "thick"]), model)).to_filename(tmp_path / "two.dscalar.nii")
    labels = LabelAxis(["areas"], {0: ("none", (0, 0, 0, 0)), 1: ("V1", (1, 0, 0, 1))})
    Cifti2Image(values[:1], (labels, model)).to_filename(tmp_path / "a.dlabel.nii")
    sentence = r"it holds 2 maps \(0: thin, 1: thick\); choose one by which=0 to 1, or save it in its own file"
    with pytest.raises(InputError, match=sentence):
        read_map(tmp_path / "two.dscalar.nii")
    with pytest.raises(InputError, match=sentence):
        read_map(tmp_path / "two.dscalar.nii", which=2)
    np.testing.assert_array_equal(read_map(tmp_path / "two.dscalar.nii", which=1), [4, 5, 6, 7, np.nan, np.nan])
    with pytest.raises(InputError, match="it has no CIFTI_STRUCTURE_CORTEX_RIGHT"):
        read_map(tmp_path / "two.dscalar.nii", "R", which=0)
    with pytest.raises(InputError, match=r"a\.dlabel\.nii cannot be read as a cortical map: it holds labels of areas"):
        read_map(tmp_path / "a.dlabel.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)), tmp_path / "volume.nii")
    with pytest.raises(InputError, match=r"it has no values at vertices; give a \.dscalar\.nii file"):
        read_map(tmp_path / "volume.nii")
    arrays = [nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_SHAPE") for row in values]
    nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), tmp_path / "two.gii")
    with pytest.raises(InputError, match="it holds 2 maps; choose one by which=0 to 1"):
        read_map(tmp_path / "two.gii")
    np.testing.assert_array_equal(read_map(tmp_path / "two.gii", which=1), [4, 5, 6, 7])
    areas = nibabel.gifti.GiftiDataArray(np.ones(4, "int32"), intent="NIFTI_INTENT_LABEL")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[areas]), tmp_path / "a.label.gii")
    with pytest.raises(InputError, match="it holds labels of areas"):
        read_map(tmp_path / "a.label.gii")
    points = nibabel.gifti.GiftiDataArray(np.ones((4, 3), "float32"), intent="NIFTI_INTENT_POINTSET")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[points]), tmp_path / "a.surf.gii")
    with pytest.raises(InputError, match="it holds a surface, not values at its vertices"):
        read_map(tmp_path / "a.surf.gii")


def test_half_times_are_replicated_over_subjects_or_folds() -> None:
    noise = 0.02 * np.random.default_rng(2).standard_normal((6, 5, 2, len(STEPS)))
    curves = np.stack([sigmoid(600.0), sigmoid(3000.0)]) + noise
    scores = xr.DataArray(curves, dims=("subject", "split", "unit", "step"), coords={"step": STEPS})
    options = DynamicsOptions(resampling=Resampling(n=60))
    for subjects, over, axis in ((6, "subjects", 1), (4, "folds", 0)):
        some = scores.isel(subject=slice(subjects))
        table = half_times(some, unit="unit", options=options)
        assert table["over"].tolist() == [over, over]
        for place, row in table.iterrows():
            rows = some.values[:, :, place].mean(axis=axis)
            alone = half_time(STEPS, rows, over=over, options=options)
            assert (row["low"], row["high"]) == (alone.low, alone.high)
            every = some.values[:, :, place].reshape(-1, len(STEPS))
            assert alone.step == pytest.approx(half_time(STEPS, every).step)
    few = half_times(scores.isel(subject=slice(4), split=slice(2)), unit="unit", options=options)
    assert few["over"].tolist() == ["", ""] and few["low"].isna().all() and few["half_time"].notna().all()
    rows = scores.values[:4, :, 0].mean(axis=0)  # folds share training data: √(2 · 4 / 3) wider
    wide, narrow = (np.log(f.high / f.low) for f in (half_time(STEPS, rows, over=o, options=options)
                                                       for o in ("folds", "subjects")))  # fmt: skip
    assert wide / narrow == pytest.approx(np.sqrt(8 / 3))
    with pytest.raises(InputError, match="made over 'subjects' or 'folds', not 'cells'"):
        half_time(STEPS, rows, over="cells")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must have dims among subject, split, unit, step"):
        half_times(scores.rename(split="run"), unit="unit")


def test_units_without_scores_are_no_units_and_too_few_are_said() -> None:
    noise = 0.02 * np.random.default_rng(4).standard_normal((6, len(STEPS)))
    rows = sigmoid(1500.0) + noise
    options = DynamicsOptions(resampling=Resampling(n=60))
    known = half_time(STEPS, rows[:3], options=options)
    holed = half_time(STEPS, np.concatenate([rows[:3], np.full((3, len(STEPS)), np.nan)]), options=options)
    assert (holed.low, holed.step, holed.high) == (known.low, known.step, known.high)
    dims, coords = ("subject", "unit", "split", "step"), {"step": STEPS, "unit": ["V1"]}
    four = xr.DataArray(rows[:4, None, None], dims=dims, coords=coords)
    table = training_half_times(four, "first")
    assert table["failure"].tolist() == ["it has no interval, which needs five subjects or three folds"]
    assert np.isnan(table["percent"][0]) and table["half_time"].notna().all()
