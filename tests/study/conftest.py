from __future__ import annotations

from pathlib import Path

import pytest
from study.own_files import OwnFiles, write_own


@pytest.fixture
def own(tmp_path: Path) -> OwnFiles:
    return write_own(tmp_path / "own")
