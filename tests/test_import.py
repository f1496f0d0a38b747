from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "mne", "nilearn", "sklearn", "matplotlib", "rsatoolbox", "himalaya")


def test_import_is_light_and_lazy() -> None:
    code = f"import brainmap, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


LIGHT = ("torch", "transformers", "mne", "nilearn", "sklearn", "scipy", "matplotlib", "xarray", "zarr", "himalaya")
CALL = """
import sys
from brainmap.cli import main
sys.argv = ["brainmap", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    print("ended with", ended.code)
print([name for name in {modules!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["models"], 0),
        (["models", "show", "dinov3-vits16"], 0),
        (["fit", "--modality", "pet"], 2),
        (["fit", "--model", "nothere"], 2),
        (["fit", "--dataset", "nothere"], 2),
        (["fit", "--cv", "1"], 2),
        (["fit", "--responses", "nowhere.npy"], 2),
    ],
)
def test_listings_and_refusals_come_before_heavy_imports(arguments: list[str], code: int) -> None:
    call = CALL.format(arguments=arguments, modules=LIGHT)
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == [f"ended with {code}", "[]"], done.stdout + done.stderr


def test_every_public_name_resolves() -> None:
    import brainmap

    for name in brainmap.__all__:
        assert getattr(brainmap, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    import brainmap

    try:
        _ = brainmap.no_such_name
    except AttributeError as error:
        assert "no_such_name" in str(error)
    else:
        raise AssertionError("an unknown name must not resolve")
