"""What extraction costs, relative to a plain forward pass of the same network on the same images.

    python benchmarks/extraction.py [--model dinov3-vits16] [--device cuda] [--batch 16] [--rounds 5]

Prints one table: wall time per image relative to a forward pass without hooks and without gradients (= 1), and the
peak memory of a process that does only this. Ways are interleaved over the rounds and the fastest round counts, so that
other load on the machine touches all of them alike; ``--cpu-time`` counts processor time instead of wall time, for a
machine with much other load (one thread only). Weights are untrained: they don't change the cost.

Where an objective says how many passes it takes, the plan's number stands beside what was measured. thingsvision and
torchlens do the same work (the outputs of all blocks) on the same network and pixels, where they are installed.
"""

from __future__ import annotations

import argparse
import functools
import operator
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainmap.features import FeatureExtractor, RandomProjection
from brainmap.features.pooling import ROLE_OF
from brainmap.models import ImageBatch, VisionModel, load_model
from brainmap.models.objectives import OBJECTIVES
from brainmap.stimuli import StimulusSet

TARGETS = {"activations, all layers": 1.1, "activations + gradients": 2.3}
OVER_PASSES = 1.2  # measured cost over the counted passes of an objective
OBJECTIVE_OF = {"activations + gradients": "feature-energy", "activations + gradients, multi-crop": "headless"}


def plain_forward(model: VisionModel, batch: ImageBatch) -> None:
    with torch.no_grad(), model.autocast():
        model.forward(batch.pixels)


def naive_loop(model: VisionModel, batch: ImageBatch) -> None:
    """One image at a time, parameters with gradients on, gradients retained at every block: the textbook way."""
    objective = OBJECTIVES["feature-energy"]
    modules = model.site_modules(model.layer_names(), "block")
    model.module.requires_grad_(True)
    try:
        for i in range(len(batch)):
            outputs: list[torch.Tensor] = []
            handles = [
                module.register_forward_hook(
                    lambda _m, _i, out, kept=outputs: kept.append(out[0] if isinstance(out, tuple) else out)
                )
                for module in modules.values()
            ]
            loss = objective(model, batch[i : i + 1]).sum()
            for output in outputs:
                output.retain_grad()
            loss.backward()
            for handle in handles:
                handle.remove()
            model.module.zero_grad(set_to_none=True)
    finally:
        model.module.requires_grad_(False)


def ways(model: VisionModel) -> dict[str, Callable[[ImageBatch], object]]:
    energy = "feature-energy"
    projected: dict[str, Any] = {
        "pooling": "flatten",
        "projection": RandomProjection(800, "kronecker"),
        "signals": ["gradient"],
    }
    roles = [name for name, role in ROLE_OF.items() if role in model.role_slices(0)]
    extractors = {
        "activations, all layers": FeatureExtractor(model, signals=["activation"]),
        "activations + gradients": FeatureExtractor(model, objective=energy),
        "the same, every token role": FeatureExtractor(model, objective=energy, pooling=roles),
        "the same, tokens projected to 800": FeatureExtractor(model, objective=energy, **projected),
        "activations + gradients, multi-crop": FeatureExtractor(model, objective="headless"),
    }
    return {
        "plain forward": lambda batch: plain_forward(model, batch),
        **{name: extractor.compute for name, extractor in extractors.items()},
        "naive loop, one image at a time": lambda batch: naive_loop(model, batch),
    }


def thingsvision_way(model: VisionModel) -> Callable[[ImageBatch], object]:
    """All blocks' outputs by thingsvision's extractor for a network of one's own."""
    from thingsvision import get_extractor_from_model

    network = model.network()
    names = list(block_paths(model).values())
    extractor = get_extractor_from_model(model=network, device=str(model.device), backend="pt")

    def way(batch: ImageBatch) -> object:
        with extractor.batch_extraction(module_names=names, output_type="tensor") as extracting:
            return extracting.extract_batch(batch=batch.pixels, flatten_acts=False)

    return way


def torchlens_way(model: VisionModel) -> Callable[[ImageBatch], object]:
    """All blocks' outputs by torchlens, which logs every operation and saves those of the named modules."""
    import torchlens

    blocks = functools.reduce(operator.or_, map(torchlens.module, block_paths(model).values()))

    def way(batch: ImageBatch) -> object:
        with torch.no_grad():
            return torchlens.trace(model.network(), batch.pixels, save=blocks)

    return way


def block_paths(model: VisionModel) -> dict[str, str]:
    """Logical layer → path of its module in the network."""
    paths = {id(module): path for path, module in model.network().named_modules()}
    return {name: paths[id(module)] for name, module in model.site_modules(model.layer_names(), "block").items()}


def peers(model: VisionModel, batch: ImageBatch) -> dict[str, Callable[[ImageBatch], object]]:
    """Those that import here and run on this network; the others are named with the reason."""
    able: dict[str, Callable[[ImageBatch], object]] = {}
    for name, make in (("thingsvision", thingsvision_way), ("torchlens", torchlens_way)):
        try:
            way = make(model)
            way(batch[:1])
        except Exception as error:  # whatever stops a package of others
            print(f"{name} is left out: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            continue
        able[f"{name}, all layers"] = way
    return able


def make_batch(model: VisionModel, count: int) -> ImageBatch:
    rng = np.random.default_rng(0)
    side = model.preprocessing.crop
    stimuli = StimulusSet.from_arrays(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    images = [stimuli.image(i) for i in range(count)]
    return ImageBatch(images, model.preprocess(images), [str(key) for key in stimuli.ids], stimuli.table)


def counted_passes(model: VisionModel, way: str) -> float | None:
    """Passes of a way's objective, and the plain one for activations where the loss does not run it."""
    if way not in OBJECTIVE_OF:
        return None
    objective = OBJECTIVES[OBJECTIVE_OF[way]]
    passes = objective.passes(model)
    return None if passes is None else passes.total + (not objective.plain_view)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(
    model: VisionModel, batch: ImageBatch, rounds: int, device: str, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds per image of each way: the fastest of the rounds."""
    best: dict[str, float] = {}
    every = {**ways(model), **peers(model, batch)}
    for round_number in range(rounds + 1):  # the first warms up
        for name, way in every.items():
            synchronise(device)
            start = clock()
            way(batch)
            synchronise(device)
            seconds = (clock() - start) / len(batch)
            if round_number:
                best[name] = min(best.get(name, np.inf), seconds)
    return best


def peak_memory(arguments: argparse.Namespace, way: str, images: int = 0) -> float:
    """Peak memory in MB of a process that does one thing: GPU memory on a GPU, resident memory elsewhere."""
    command = [sys.executable, __file__, "--only", way, "--images", str(images)]
    for name in ("model", "device", "batch"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def resident_peak() -> float:
    """Peak resident memory in MB; Linux's ``ru_maxrss`` starts at the parent's size, so its own counter comes first."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def only(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.model, weights="untrained", device=arguments.device)
    if arguments.images:
        rng = np.random.default_rng(0)
        side = model.preprocessing.crop
        images = rng.integers(0, 256, (arguments.images, side, side, 3), dtype=np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, Any] = {"objective": "feature-energy", "batch_size": arguments.batch, "store": folder}
            FeatureExtractor(model, **options).extract(StimulusSet.from_arrays(images))
    elif arguments.only != "nothing":
        ways(model)[arguments.only](make_batch(model, arguments.batch))
    if arguments.device.startswith("cuda"):
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        print(resident_peak())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dinov3-vits16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        only(arguments)
        return
    if arguments.cpu_time:
        torch.set_num_threads(1)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    model = load_model(arguments.model, weights="untrained", device=arguments.device)
    seconds = measure(model, make_batch(model, arguments.batch), arguments.rounds, arguments.device, clock)
    base = seconds["plain forward"]
    where = (
        torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    )
    print(f"{arguments.model}, {model.preprocessing.crop} px, batch {arguments.batch}, {arguments.device} ({where})\n")
    print(f"{'':40}{'relative':>10}{'images/s':>10}{'passes':>8}{'target':>8}{'peak MB':>9}")
    for name, value in seconds.items():
        passes = counted_passes(model, name)
        limit = TARGETS.get(name) or (passes and OVER_PASSES * passes)
        target = f"≤ {limit:.1f}" if limit else ""
        peer = name not in ways(model)
        memory = "" if arguments.no_memory or peer else f"{peak_memory(arguments, name):.0f}"
        count = f"{passes:.2f}" if passes else ""
        print(f"{name:40}{value / base:>10.2f}{1 / value:>10.1f}{count:>8}{target:>8}{memory:>9}")
    if not arguments.no_memory:
        few, many = (peak_memory(arguments, "extract", 4 * arguments.batch * times) for times in (1, 4))
        print(
            f"\nto the store, {4 * arguments.batch} and {16 * arguments.batch} images: peak {few:.0f} and {many:.0f} MB"
        )


if __name__ == "__main__":
    main()
