"""Write a minimal CTF recording (``.ds``), field by field as MNE's reader documents its ``res4``, ``meg4`` and ``hc``.

MNE has no CTF writer. All numbers are big-endian; positions are in cm; a sample of channel k is
``int32 / (proper_gain × qgain)`` in T (or V).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

MEG, REFERENCE, STIMULUS, OTHER = 5, 0, 11, 17
MEG_GAIN = (1e9, 1e8)  # 1e-17 T a step
COIL = [("pos", ">f8", 3), ("d0", ">f8"), ("norm", ">f8", 3), ("d1", ">f8"), ("turns", ">i2"), ("d2", ">i4"),
        ("d3", ">i2"), ("area", ">f8")]  # fmt: skip
CHANNEL = np.dtype(
    [("type", ">i2"), ("run", ">i2"), ("coil_type", ">i4"), ("proper_gain", ">f8"), ("qgain", ">f8"),
     ("io_gain", ">f8"), ("io_offset", ">f8"), ("num_coils", ">i2"), ("grad_order", ">i2"), ("d0", ">i4"),
     ("coil", COIL, 8), ("head_coil", COIL, 8)]
)  # fmt: skip
COMPENSATION = np.dtype(
    [("sensor", "S32"), ("kind", ">i4"), ("d0", ">i4"), ("n", ">i2"), ("references", "S31", 50), ("weights", ">f8", 50)]
)


def write_ctf(
    folder: Path,
    sensors: list[str],
    signal: np.ndarray,
    trigger: np.ndarray,
    *,
    rate: float = 1200.0,
    others: dict[str, np.ndarray] | None = None,
) -> None:
    """Write ``folder`` (a ``.ds``) with a clock, a reference, the trigger channel UPPT001 and sensors.

    Parameters
    ----------
    sensors : list of str
        With the dewar's serial number, as ``MLC11-1609``.
    signal : (n_sensors, n_samples)
        In T.
    trigger : (n_samples,) int
        Trigger channel.
    others : dict of str to (n_samples,) int, optional
        Further channels, in steps.
    """
    folder.mkdir(parents=True)
    more = others or {}
    names = ["SCLK01-177", "BG1-1609", "UPPT001", *sensors, *more]
    kinds = [OTHER, REFERENCE, STIMULUS, *[MEG] * len(sensors), *[OTHER] * len(more)]
    n_samples = signal.shape[1]
    stem = folder.name.removesuffix(".ds")
    (folder / f"{stem}.res4").write_bytes(_header(n_samples, len(names), rate) + _channels(names, kinds))
    counts = np.zeros((len(names), n_samples), dtype=">i4")
    counts[0] = np.arange(1, n_samples + 1)  # the system clock; a zero would end the recording
    counts[2] = trigger
    counts[3 : 3 + len(sensors)] = np.round(signal * MEG_GAIN[0] * MEG_GAIN[1])
    for row, values in enumerate(more.values(), start=3 + len(sensors)):
        counts[row] = values
    (folder / f"{stem}.meg4").write_bytes(b"MEG41CP\0" + counts.tobytes())
    (folder / f"{stem}.hc").write_text(_coils())
    (folder / f"{stem.replace('_meg', '')}_BadChannels").write_text("\n")


def _header(n_samples: int, n_channels: int, rate: float) -> bytes:
    fields = bytearray(1844)

    def put(offset: int, value: bytes) -> None:
        fields[offset : offset + len(value)] = value

    def number(value: float, kind: str) -> bytes:
        return np.array(value, dtype=kind).tobytes()

    put(0, b"MEG42RS\0")
    put(778, b"10:15\0")  # time, then date
    put(1033, b"01-Mar-2019\0")
    put(1288, number(n_samples, ">i4"))
    put(1292, number(n_channels, ">i2"))
    put(1296, number(rate, ">f8"))
    put(1304, number(n_samples / rate, ">f8"))
    put(1312, number(1, ">i2"))  # one trial
    return bytes(fields)


def _channels(names: list[str], kinds: list[int]) -> bytes:
    body = np.array(0, dtype=">i2").tobytes()  # no filters
    body += b"".join(name.encode().ljust(32, b"\0") for name in names)
    table = np.zeros(len(names), dtype=CHANNEL)
    for k, kind in enumerate(kinds):
        gains = MEG_GAIN if kind in (MEG, REFERENCE) else (1.0, 1.0)
        table[k]["type"], table[k]["proper_gain"], table[k]["qgain"] = kind, *gains
        table[k]["num_coils"] = 2
        angle = 2 * np.pi * k / len(names)
        for coil in ("coil", "head_coil"):
            outward = np.array([np.cos(angle), np.sin(angle), 0.0])
            table[k][coil]["pos"][:2] = 8 * outward + [0, 0, 5], 9 * outward + [0, 0, 5]
            table[k][coil]["norm"][:2] = outward
    return (
        body
        + table.tobytes()
        + _compensation([n for n, kind in zip(names, kinds, strict=True) if kind == MEG], names[1])
    )


def _compensation(sensors: list[str], reference: str) -> bytes:
    """First-order compensation of every sensor by one reference, with weight 0: nothing to undo, but present."""
    table = np.zeros(len(sensors), dtype=COMPENSATION)
    table["sensor"] = [name.encode() for name in sensors]
    table["kind"] = 0x47314252  # "G1BR"
    table["n"] = 1
    table["references"][:, 0] = reference.encode()
    return np.array(len(sensors), dtype=">i2").tobytes() + table.tobytes()


def _coils() -> str:
    points = {"nasion": (7.9, 0.0, 0.0), "left ear": (0.0, 7.7, 0.0), "right ear": (0.0, -7.6, 0.0)}
    lines = []
    for frame, shift in (("dewar", (0.0, 0.0, -25.0)), ("head", (0.0, 0.0, 0.0))):
        for name, place in points.items():
            lines.append(f"measured {name} coil position relative to {frame} (cm):")
            lines += [f"\t{axis} = {value + move:.6f}" for axis, value, move in zip("xyz", place, shift, strict=True)]
    return "\n".join(lines) + "\n"
