"""Cards that a test module registers are forgotten after it: their names must not be other modules' models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from brainmap.models import model_cards


@pytest.fixture(autouse=True, scope="module")
def forgotten_cards() -> Iterator[None]:
    before = dict(model_cards._registered)
    yield
    model_cards._registered.clear()
    model_cards._registered.update(before)
