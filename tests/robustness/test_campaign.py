from __future__ import annotations

from pathlib import Path

import pytest
from robustness.campaign import run_campaign
from robustness.killed_commands import kill_commands

from brainmap.common.errors import InputError
from brainmap.common.storage.digests import sealed_folder
from brainmap.encoding import EncodingResult


def test_nothing_is_lost_silently_wrong_or_a_traceback(tmp_path: Path) -> None:
    """The short campaign; ``make robustness`` runs the long one."""
    tally = run_campaign(tmp_path, n_cases=240, n_kills=2, seed=1)
    assert not tally.failures, tally.table() + "\n" + "\n".join(tally.failures[:10])


def test_killed_commands_end_with_the_same_bytes(tmp_path: Path) -> None:
    """Two commands that need no torch, which forks badly; ``make robustness`` kills all of them."""
    kills = kill_commands(tmp_path, n_kills=6, seed=2, names=("fetch", "prepare"))
    assert not kills.failures and kills.completed >= 2


def test_a_foreign_file_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"), sealed_folder(tmp_path, "encoding result"):
        pass
    ours = tmp_path / "ours"
    for _ in range(2):
        with sealed_folder(ours, "encoding result") as folder:
            (folder / "a").write_text("1")
    (ours / "notes.txt").write_text("mine")
    with (
        pytest.raises(InputError, match=r"notes\.txt was not written by brainmap"),
        sealed_folder(ours, "encoding result"),
    ):
        pass
    assert (ours / "notes.txt").read_text() == "mine" and (tmp_path / "thesis.txt").exists()
    with pytest.raises(InputError, match="holds no encoding result"):
        EncodingResult.load(tmp_path)
