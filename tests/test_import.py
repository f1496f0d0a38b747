from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "mne", "nilearn", "sklearn", "matplotlib", "rsatoolbox", "himalaya")


def test_import_is_light_and_lazy() -> None:
    code = f"import brainmap, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


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
