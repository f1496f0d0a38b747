"""Keep the teacher's backbone of checkpoints of ``tools/train_dino_tiny.py``, as the narrower dino-tiny models ship.

    python tools/keep_teacher.py run/ brainmap/models/weights/dino_tiny_48 --steps 100 400 1600 6400

Each file becomes one of the same name with a fifth of the size: float16, in the names of the library, with the recipe
of the training in its metadata. A loss needs student and heads, and cannot be computed from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

TEACHER = "teacher.backbone."


def keep_teacher(checkpoint: Path, folder: Path) -> Path:
    """Write the teacher's backbone of one checkpoint into a folder; returns the new file."""
    with safe_open(checkpoint, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(TEACHER)]  # noqa: SIM118 - not a mapping
        tensors = {name.removeprefix(TEACHER): file.get_tensor(name).half().contiguous() for name in names}
        metadata = file.metadata()
    if not tensors:
        raise SystemExit(f"{checkpoint} holds no {TEACHER}*: give a checkpoint of tools/train_dino_tiny.py")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / checkpoint.name, metadata=metadata)
    return folder / checkpoint.name


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with step_NNNNNN.safetensors")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    for step in arguments.steps:
        written = keep_teacher(arguments.run / f"step_{step:06d}.safetensors", arguments.out)
        print(f"{written}: {written.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
