"""Old public names answer with the new place; every new place exists."""

from __future__ import annotations

import importlib

import pytest

from brainmap.common.moved_names import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_name_says_where_it_is(old: str) -> None:
    package, name = old.rsplit(".", 1)
    with pytest.raises(ImportError, match=f"{name} has moved; use {MOVED[old]}"):
        getattr(importlib.import_module(package), name)
    package, name = MOVED[old].rsplit(".", 1)
    assert getattr(importlib.import_module(package), name)


def test_other_names_stay_attribute_errors() -> None:
    study = importlib.import_module("brainmap.study")
    assert not hasattr(study, "nothing_of_the_kind") and study.StudyPlan
