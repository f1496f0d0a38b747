"""A study whose scores are several times its memory bound is run to its report, a layer at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainmap.common.array_sources import as_source
from brainmap.encoding import EncodingRidgeCV, PreparedEncoding
from brainmap.encoding.engine import INTERPRETER_BYTES, memory_bound


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_a_run_holds_little_of_its_scores(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("large_results.py")), str(tmp_path)]
    done = subprocess.run([*command, "5000", "24", "2", "100MB"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    size, at_once, before, peak = map(int, done.stdout.split())
    assert size == 5_000 * 25 * 5 * 2 * 12
    assert 0 < at_once <= 5_000 * 5 * 4  # one variable of one layer and subject
    assert peak - before < 200_000_000  # the libraries of figures


@pytest.mark.parametrize(("memory", "groups"), [("4GB", 10), ("8GB", 5)])
def test_all_of_fsaverage_is_plannable(memory: str, groups: int) -> None:
    """One subject of NSD from 40 layers of 1,024: what is held at a time stays within the bound."""
    n, targets, kept = 10_000, 327_684, 16_384
    layers = {f"block.{number}": np.broadcast_to(np.float32(0), (n, 1024)) for number in range(40)}
    prepared = PreparedEncoding(layers, estimator=EncodingRidgeCV(), cv=5, memory=memory)
    bound = memory_bound(prepared.sources, prepared.problem, prepared.memory, (targets, kept), prepared.layers)
    plans = bound.plans(as_source(np.broadcast_to(np.float32(0), (n, targets)), "Y"))
    assert len(bound.groups) == groups and len({plan.batch for plan in plans}) == 1
    for group, plan in zip(bound.groups, plans, strict=True):
        held = sum(bound.layer_bytes[name] for name in group) + plan.batch * plan.threads * bound.target_bytes
        assert held + INTERPRETER_BYTES + 4 * 8 * 40 * 5 * kept <= prepared.memory
