"""Checkpoints that were cut short while they were saved or copied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brainmap.common.errors import InputError
from brainmap.models.checkpoints.weight_files import read_tensors


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0, 0.001, 0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_anywhere_is_refused_in_one_sentence(tmp_path: Path, zipped: bool, share: float):
    file = tmp_path / "step.pt"
    torch.save({"weight": torch.ones(1000)}, file, _use_new_zipfile_serialization=zipped)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(InputError, match=r"step\.pt") as caught:
        read_tensors(file)
    assert "\n" not in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path: Path):
    (tmp_path / "notes.pt").write_text("hello world" * 100)
    with pytest.raises(InputError, match="is no complete checkpoint"):
        read_tensors(tmp_path / "notes.pt")
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    with pytest.raises(InputError, match="holds a Tensor, not tensors by name"):
        read_tensors(tmp_path / "tensor.pt")
