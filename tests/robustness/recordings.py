"""A person's own recordings in every format, and the tables beside them, damaged."""

from __future__ import annotations

import base64
import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from data.test_gifti_files import gifti
from robustness.damage import damage_a_file, damaged
from robustness.outcomes import Silent

from brainmap import read_responses
from brainmap.stimuli import StimulusSet

N_TRIALS, N_TARGETS = 24, 6
SENSORS, TIMES = ["Fz", "Cz", "Pz"], 21
# What says of itself whether it is whole: a value that changed must not come out. Bare numbers carry no checksum.
CHECKED = ("packed.npz", "plain.npz", "x.csv.gz", "x.nii.gz", "x.mat")


class Recordings:
    """One sound file of each format, and a reader that compares what it gives with what was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        self.values = rng.standard_normal((N_TRIALS, N_TARGETS)).astype(np.float32)
        names = [f"p{i}" for i in range(12)]
        images = rng.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
        self.stimuli = StimulusSet.from_arrays(images, pd.DataFrame({"name": names}))
        shown = [names[i] for i in np.concatenate([rng.permutation(12), rng.permutation(12)])]
        self.tables = {
            "events.tsv": pd.DataFrame({"stimulus": shown, "onset": 0.5 + 0.6 * np.arange(N_TRIALS)}),
            "targets.tsv": pd.DataFrame({"roi": list("aabbcc"), "hemisphere": list("LRLRLR")}),
            "confounds.tsv": pd.DataFrame(rng.standard_normal((N_TRIALS, 2)), columns=["x", "y"]),
        }
        for name, table in self.tables.items():
            table.to_csv(folder / name, sep="\t", index=False)
        self._write_arrays()
        self._write_images()
        self._write_meeg(shown)
        self.files = sorted(path.name for path in folder.iterdir())

    def cases(self, rng: np.random.Generator, scratch: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
        while True:
            name = self.files[int(rng.integers(len(self.files)))]
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(self.folder, scratch)
            if (scratch / name).is_dir():
                done = damage_a_file(scratch / name, rng)
            else:
                (scratch / name).write_bytes(damaged((scratch / name).read_bytes(), rng))
                done = f"{name} damaged"
            suffix = name.partition(".")[2]
            yield f"own .{suffix}", done, lambda name=name: self.read(scratch, name)

    def fixed(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        """What promises more than it holds, unpacks to gigabytes, or reads the files of others."""
        lies = {
            "shape.npz": self._lying_npz, "shape.nii": self._lying_volume, "wide.csv": self._wide_table,
            "bomb.func.gii": self._gifti_bomb, "outside.func.gii": self._gifti_outside, "outside.h5": self._virtual,
        }  # fmt: skip
        for name, write in lies.items():
            yield "own, lies", name, lambda name=name, write=write: self._refused(name, write)

    def _refused(self, name: str, write: Callable[[Path], None]) -> None:
        write(self.folder / name)
        try:
            self.read(self.folder, name)
        finally:
            (self.folder / name).unlink()
        raise Silent(f"{name} is read")

    def _lying_npz(self, path: Path) -> None:
        header = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": (N_TRIALS, 10**11)}
        np.lib.format.write_array_header_1_0(header, about)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("betas.npy", header.getvalue() + bytes(600))

    def _lying_volume(self, path: Path) -> None:
        sound = bytearray((self.folder / "x.nii").read_bytes())
        struct.pack_into("<8h", sound, 40, 4, 32767, 32767, 32767, N_TRIALS, 1, 1, 1)
        path.write_bytes(sound)

    def _wide_table(self, path: Path) -> None:
        path.write_bytes(b"1," * 600_000 + b"1\n")

    def _gifti_bomb(self, path: Path) -> None:
        packed = base64.b64encode(zlib.compress(bytes(10**8), 9))
        gifti(path, packed, 10**6, n_arrays=30)

    def _gifti_outside(self, path: Path) -> None:
        gifti(path, b"", 4, encoding="external", external="/etc/passwd")

    def _virtual(self, path: Path) -> None:
        import h5py

        layout = h5py.VirtualLayout(self.values.shape, "f4")
        layout[:] = h5py.VirtualSource(str(self.folder / "x.h5"), "betas", self.values.shape)
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("betas", layout)

    def read(self, folder: Path, name: str) -> None:
        """Read the recording, or, where a table was damaged, the sound one with that table."""
        table = name in self.tables
        meeg = name.startswith("meeg")
        source = "x.npy" if table else name
        responses = read_responses(
            folder / source,
            folder / "targets.tsv" if not meeg and source.partition(".")[2] not in ("nii", "nii.gz") else None,
            folder / "events.tsv",
            self.stimuli,
            confounds=folder / "confounds.tsv" if name == "confounds.tsv" else None,
            atlas=folder / "atlas.nii" if name == "atlas.nii" else None,
            **({"tmin": -0.1, "tmax": 0.1} if meeg else {}),
        )
        found = responses.block()
        if table or responses.info["notes"]:  # another table is another input; what was left out is said
            return
        if found.shape[0] != N_TRIALS or (not meeg and found.shape[1] != N_TARGETS):
            raise Silent(f"{found.shape} values come out of {name}")
        if name in CHECKED and not np.array_equal(found, self.values):
            raise Silent(f"other values come out of {name}")

    def _write_arrays(self) -> None:
        import h5py
        from scipy.io import savemat

        folder, values = self.folder, self.values
        np.save(folder / "x.npy", values)
        np.savez(folder / "plain.npz", betas=values)
        np.savez_compressed(folder / "packed.npz", betas=values)
        savemat(folder / "x.mat", {"betas": values, "settings": {"lambda": 1.0}}, do_compression=True)
        for name in ("x.h5", "v73.mat"):
            with h5py.File(folder / name, "w") as file:
                data = values.T if name == "v73.mat" else values
                dataset = file.create_dataset("betas", data=data, chunks=True, compression="gzip", fletcher32=True)
                if name == "v73.mat":
                    dataset.attrs["MATLAB_class"] = np.bytes_("single")
        labelled = xr.Dataset({"betas": (("trial", "target"), values)})
        labelled.to_netcdf(folder / "x.nc", engine="h5netcdf")
        xr.Dataset({"betas": (("a", "b"), values)}).to_zarr(folder / "x.zarr", zarr_format=3, consolidated=False)
        pd.DataFrame(values).to_csv(folder / "x.csv.gz", index=False, header=False)
        pd.DataFrame(values).to_csv(folder / "x.csv", index=False, header=False)

    def _write_images(self) -> None:
        import nibabel
        from nibabel import cifti2

        volumes = self.values.T.reshape(3, 2, 1, N_TRIALS)
        for name in ("x.nii", "x.nii.gz"):
            nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), self.folder / name)
        axis = cifti2.BrainModelAxis.from_surface(np.arange(N_TARGETS), 32492, "CortexLeft")
        header = cifti2.Cifti2Header.from_axes((cifti2.SeriesAxis(0, 1, N_TRIALS), axis))
        nibabel.save(cifti2.Cifti2Image(self.values, header), self.folder / "x.dtseries.nii")
        for side in "LR":
            arrays = [
                nibabel.gifti.GiftiDataArray(row, "NIFTI_INTENT_TIME_SERIES", "float32")
                for row in np.random.default_rng(1).standard_normal((N_TRIALS, 642)).astype(np.float32)
            ]
            nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), self.folder / f"s_hemi-{side}.func.gii")

    def _write_meeg(self, shown: list[str]) -> None:
        import mne

        rng = np.random.default_rng(2)
        info = mne.create_info(SENSORS, 100.0, "eeg")
        epochs = mne.EpochsArray(rng.standard_normal((N_TRIALS, 3, TIMES)) * 1e-6, info, tmin=-0.1, verbose="error")
        epochs.save(self.folder / "meeg-epo.fif", verbose="error")
        raw = mne.io.RawArray(rng.standard_normal((3, 1600)) * 1e-6, info, verbose="error")
        raw.save(self.folder / "meeg_raw.fif", verbose="error")
        mne.export.export_raw(self.folder / "meeg.edf", raw, verbose="error") if _has_edfio() else None


def _has_edfio() -> bool:
    import importlib.util

    return importlib.util.find_spec("edfio") is not None
