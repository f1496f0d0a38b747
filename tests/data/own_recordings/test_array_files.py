"""One planted array in every format that holds arrays: the same responses come back, lazily where the format can."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from scipy.io import savemat

from brainmap import read_responses
from brainmap.common.errors import InputError
from brainmap.stimuli import StimulusSet

DATA = np.random.default_rng(1).standard_normal((6, 12)).astype(np.float32)
EVENTS = pd.DataFrame({"stimulus": ["a", "b", "c"] * 2})
ROI = pd.DataFrame({"roi": [f"V{n}" for n in range(12)]})
SENSORS = pd.DataFrame({"sensor": np.repeat([*"ABC"], 4), "time": np.tile([0.0, 0.1, 0.2, 0.3], 3)})
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [*"abc"]}))


def write(folder: Path, form: str) -> str:
    """Write the array in one format; return what ``responses`` is."""
    file = folder / f"r.{form.partition('-')[0]}"
    if form == "npy":
        np.save(file, DATA)
    elif form == "npz":
        np.savez(file, betas=DATA, other=np.zeros(3))
    elif form == "npz-small":
        np.savez_compressed(file, betas=DATA)
    elif form == "npz-fortran":
        np.savez(file, betas=np.asfortranarray(DATA))
    elif form == "mat":
        savemat(file, {"betas": DATA.astype(float), "note": "text"})
    elif form == "mat-v73":
        with h5py.File(file, "w") as stream:
            stream["betas"] = DATA.T
            stream["betas"].attrs["MATLAB_class"] = np.bytes_("single")
    elif form == "h5":
        with h5py.File(file, "w") as stream:
            stream["sub/betas"] = DATA
            stream["sub/mean"] = DATA[:2]
        return f"{file}::sub/betas"
    elif form == "zarr":
        zarr.save_array(str(file), DATA)
    elif form == "zarr-group":
        zarr.open_group(str(file), mode="w").create_array("betas", data=DATA)
        return f"{file}::betas"
    elif form in ("nc", "nc-3"):
        engine = {"nc": "h5netcdf", "nc-3": "scipy"}[form]
        xr.Dataset({"betas": (("n", "m"), DATA)}).to_netcdf(file, engine=engine)
    elif form == "csv":
        pd.DataFrame(DATA).to_csv(file, index=False)
    elif form == "txt":
        np.savetxt(file, DATA, delimiter="\t")
    return str(file)


FORMS = [
    *("npy", "npz", "npz-small", "npz-fortran", "mat", "mat-v73", "h5", "zarr", "zarr-group"),
    *("nc", "nc-3", "csv", "txt"),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_planted_responses(stimuli: StimulusSet, tmp_path: Path, form: str):
    responses = read_responses(write(tmp_path, form), ROI, EVENTS, stimuli)
    np.testing.assert_allclose(responses.block(), DATA, rtol=1e-6)
    np.testing.assert_allclose(responses.block([4, 1], [7, 2, 9]), DATA[[4, 1]][:, [7, 2, 9]], rtol=1e-6)
    np.testing.assert_allclose(responses.block(slice(1, 5), slice(3, 8)), DATA[1:5, 3:8], rtol=1e-6)
    means = np.stack([DATA[n::3].mean(axis=0) for n in range(3)])
    np.testing.assert_allclose(responses.average_repeats().block(), means, rtol=1e-5)


@pytest.mark.parametrize("form", ["npy", "npz", "npz-fortran", "mat-v73", "h5", "zarr"])
def test_formats_that_can_are_not_loaded(stimuli: StimulusSet, tmp_path: Path, form: str):
    values = read_responses(write(tmp_path, form), ROI, EVENTS, stimuli, check=False).values
    source = getattr(values, "values", values)
    assert isinstance(source, np.memmap | h5py.Dataset | zarr.Array)


@pytest.mark.parametrize("kind", ["numpy", "fortran", "h5py", "zarr", "matlab"])
def test_sensors_and_times_may_be_axes_of_their_own(stimuli: StimulusSet, tmp_path: Path, kind: str):
    cube = DATA.reshape(6, 3, 4)
    if kind == "numpy":
        source = cube
    elif kind == "fortran":
        source = np.asfortranarray(cube)
    elif kind == "h5py":
        source = h5py.File(tmp_path / "r.h5", "w").create_dataset("x", data=cube)
    elif kind == "zarr":
        source = zarr.array(cube)
    else:
        savemat(tmp_path / "r.mat", {"x": cube})
        source = tmp_path / "r.mat"
    responses = read_responses(source, SENSORS, EVENTS, stimuli)
    np.testing.assert_array_equal(responses.block(), DATA)
    np.testing.assert_array_equal(responses.block([5, 0], [11, 0, 6]), DATA[[5, 0]][:, [11, 0, 6]])
    by_time = SENSORS.sort_values("time", kind="stable").reset_index(drop=True)
    np.testing.assert_array_equal(read_responses(source, by_time, EVENTS, stimuli).block(), DATA)


def labelled() -> xr.Dataset:
    coords = {"sensor": [*"ABC"], "time": [0.0, 0.1, 0.2, 0.3], "image": ("trial", ["a", "b", "c"] * 2)}
    return xr.Dataset({"evoked": (("sensor", "time", "trial"), np.moveaxis(DATA.reshape(6, 3, 4), 0, -1))}, coords)


@pytest.mark.parametrize("form", ["nc", "zarr", "memory"])
def test_labelled_axes_need_no_tables(stimuli: StimulusSet, tmp_path: Path, form: str):
    dataset = labelled()
    source: object = tmp_path / f"r.{form}"
    if form == "nc":
        dataset.to_netcdf(source, engine="h5netcdf")
    elif form == "zarr":
        dataset.to_zarr(source)
    else:
        source = dataset["evoked"]
    responses = read_responses(source, stimuli=stimuli)
    np.testing.assert_array_equal(responses.block(), DATA)
    assert responses.targets[["sensor", "time"]].equals(SENSORS.astype({"sensor": responses.targets["sensor"].dtype}))
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[[0, 1, 2] * 2])


def struct_file(folder: Path, version: str) -> Path:
    """A struct with fields, as MATLAB saves it."""
    file = folder / "r.mat"
    if version == "v5":
        inner = {"betas": DATA.astype(float), "note": "text", "deep": {"betas": 2 * DATA}}
        savemat(file, {"results": inner, "other": np.zeros((4, 4))})
        return file
    with h5py.File(file, "w") as stream:
        for name, values in (("results/betas", DATA), ("results/deep/betas", 2 * DATA), ("other", np.zeros((4, 4)))):
            stream[name] = values.T
            stream[name].attrs["MATLAB_class"] = np.bytes_("double")
        stream["results"].attrs["MATLAB_class"] = np.bytes_("struct")
    return file


@pytest.mark.parametrize("version", ["v5", "v7.3"])
@pytest.mark.parametrize("separator", [".", "/"])
def test_fields_of_matlab_structs_are_named_by_their_path(stimuli, tmp_path: Path, version: str, separator: str):
    file = struct_file(tmp_path, version)
    responses = read_responses(f"{file}::{separator.join(('results', 'betas'))}", ROI, EVENTS, stimuli)
    np.testing.assert_allclose(responses.block(), DATA, rtol=1e-6)
    deep = read_responses(f"{file}::results{separator}deep", ROI, EVENTS, stimuli)  # the only array in it
    np.testing.assert_allclose(deep.block(), 2 * DATA, rtol=1e-6)
    with pytest.raises(InputError, match=r"several arrays: results.betas \(6 × 12\), results.deep.betas"):
        read_responses(f"{file}::results", ROI, EVENTS, stimuli)
    with pytest.raises(InputError, match=r"no array of numbers 'results.note'"):
        read_responses(f"{file}::results.note", ROI, EVENTS, stimuli)


ORDERS = {"trials,times,channels": (0, 2, 1), "channels,times,trials": (1, 2, 0), "times,channels,trials": (2, 1, 0),
          "channels,trials,times": (1, 0, 2), "times,trials,channels": (2, 0, 1)}  # fmt: skip


@pytest.mark.parametrize("form", ["npy", "mat", "v7.3", "h5"])
@pytest.mark.parametrize("axes", ORDERS)
def test_axes_in_any_order_are_told_by_their_lengths(stimuli, tmp_path: Path, form: str, axes: str):
    turned = np.ascontiguousarray(DATA.reshape(6, 3, 4).transpose(ORDERS[axes]))
    file = tmp_path / f"r.{'mat' if form == 'v7.3' else form}"
    if form == "npy":
        np.save(file, turned)
    elif form == "mat":
        savemat(file, {"x": turned})
    else:
        with h5py.File(file, "w") as stream:
            stream["x"] = turned.T if form == "v7.3" else turned
            if form == "v7.3":
                stream["x"].attrs["MATLAB_class"] = np.bytes_("single")
    responses = read_responses(file, SENSORS, EVENTS, stimuli)
    np.testing.assert_allclose(responses.block(), DATA, rtol=1e-6)
    np.testing.assert_allclose(responses.block([5, 0], [11, 0, 6]), DATA[[5, 0]][:, [11, 0, 6]], rtol=1e-6)
    assert any("is transposed: it is" in note for note in responses.info["notes"])
    assert np.array_equal(read_responses(file, SENSORS, EVENTS, stimuli, axes=axes).block(), responses.block())


def test_axes_of_equal_length_are_asked_about(stimuli: StimulusSet):
    cube = np.random.default_rng(0).standard_normal((6, 3, 3)).astype(np.float32)
    square = SENSORS[SENSORS["time"] < 0.25].reset_index(drop=True)
    with pytest.raises(InputError, match=r"may be trials × sensors × times or trials × times × sensors; .*--set axes="):
        read_responses(cube, square, EVENTS, stimuli)
    read = {axes: read_responses(cube, square, EVENTS, stimuli, axes=axes).block() for axes in ("trials sensors times",
            "trials,times,channels")}  # fmt: skip
    np.testing.assert_array_equal(read["trials sensors times"], cube.reshape(6, -1))
    np.testing.assert_array_equal(read["trials,times,channels"], cube.transpose(0, 2, 1).reshape(6, -1))
    with pytest.raises(InputError, match="There is no axis 'voxel'"):
        read_responses(cube, square, EVENTS, stimuli, axes="trials,voxel,times")
    with pytest.raises(InputError, match=r"has 3 axes \(6 × 3 × 3\), but 2 are named"):
        read_responses(cube, square, EVENTS, stimuli, axes="trials,times")
    with pytest.raises(InputError, match=r"array is 6 × 3 × 5, but .* ask for 6 trials × 3 sensors × 4 times"):
        read_responses(np.zeros((6, 3, 5)), SENSORS, EVENTS, stimuli)


def test_trials_may_be_the_last_axis_of_volumes(stimuli: StimulusSet):
    volumes = np.moveaxis(DATA.reshape(6, 2, 2, 3), 0, -1)
    np.testing.assert_array_equal(read_responses(volumes, ROI, EVENTS, stimuli).block(), DATA)
    with pytest.raises(InputError, match="may be trials × x × y or x × trials × y"):
        read_responses(np.zeros((6, 6, 2)), ROI, EVENTS, stimuli)


def test_arrays_must_be_named_where_there_are_several(stimuli: StimulusSet, tmp_path: Path):
    np.savez(tmp_path / "r.npz", first=DATA, second=DATA)
    with pytest.raises(InputError, match=r"several arrays: first \(6 × 12\), second .*r\.npz::first"):
        read_responses(tmp_path / "r.npz", ROI, EVENTS, stimuli)
    with pytest.raises(InputError, match=r"has no array of numbers 'third'; it has first"):
        read_responses(f"{tmp_path / 'r.npz'}::third", ROI, EVENTS, stimuli)
    np.save(tmp_path / "r.npy", DATA)
    with pytest.raises(InputError, match="holds one array without a name"):
        read_responses(f"{tmp_path / 'r.npy'}::x", ROI, EVENTS, stimuli)


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_nothing_is_ever_unpickled(stimuli: StimulusSet, tmp_path: Path):
    objects = np.array([Explosive()], dtype=object)
    np.savez(tmp_path / "r.npz", betas=objects, allow_pickle=True)
    with pytest.raises(InputError, match=r"'betas' of .*r\.npz holds Python objects, which are never unpickled"):
        read_responses(tmp_path / "r.npz", ROI, EVENTS, stimuli)
    np.save(tmp_path / "r.npy", objects, allow_pickle=True)
    with pytest.raises(InputError, match="holds Python objects, which are never unpickled"):
        read_responses(tmp_path / "r.npy", ROI, EVENTS, stimuli)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps({"betas": DATA}))
    with pytest.raises(InputError, match="cannot be read as an array of numbers"):
        read_responses(tmp_path / "bare.npy", ROI, EVENTS, stimuli)
    savemat(tmp_path / "r.mat", {"results": {"note": "text"}})
    with pytest.raises(InputError, match=r"'results' of .* is a MATLAB struct without arrays of numbers"):
        read_responses(tmp_path / "r.mat", ROI, EVENTS, stimuli)
    savemat(tmp_path / "c.mat", {"betas": np.array([[DATA, "x"]], dtype=object)})
    with pytest.raises(InputError, match=r"'betas' of .* is a MATLAB cell"):
        read_responses(tmp_path / "c.mat", ROI, EVENTS, stimuli)


@pytest.mark.parametrize("form", ["npy", "npz", "mat", "mat-v73", "h5", "nc", "nc-3"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_files_that_were_cut_are_refused_in_one_sentence(stimuli: StimulusSet, tmp_path: Path, form: str, share: float):
    source = write(tmp_path, form)
    file = Path(source.partition("::")[0])
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(InputError) as caught:
        read_responses(source, ROI, EVENTS, stimuli)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 20


def test_other_files_and_folders_are_named(stimuli: StimulusSet, tmp_path: Path):
    (tmp_path / "r.xyz").write_text("x")
    with pytest.raises(InputError, match="is of no known format; responses are files that end in"):
        read_responses(tmp_path / "r.xyz", ROI, EVENTS, stimuli)
    with pytest.raises(InputError, match="is a folder without files of responses"):
        read_responses(tmp_path, ROI, EVENTS, stimuli)
    with pytest.raises(InputError, match="does not say what its columns are; give a table"):
        read_responses(DATA, None, EVENTS, stimuli)
    with pytest.raises(InputError, match="does not say which photograph each trial showed"):
        read_responses(DATA, ROI, None, stimuli)
