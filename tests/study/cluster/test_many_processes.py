"""One study file on several processes: the same bytes as on one, whoever did what."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from study.cluster.small_study import COMMAND, numbers, write_study

from brainmap.common.errors import InputError
from brainmap.study import Grid, GridConfig, Study, listed, queue_script, run_on_dask, share_of
from brainmap.study.cluster.tasks import LEAST_SHARE, described, do_task, tasks_of


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("many"))


@pytest.fixture
def grid(study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(study_file.parent)
    return Grid(GridConfig.from_yaml(study_file), tmp_path / "grid")


@pytest.fixture(scope="module")
def alone(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    before = Path.cwd()
    os.chdir(study_file.parent)
    try:
        out = tmp_path_factory.mktemp("alone") / "grid"
        Grid(GridConfig.from_yaml(study_file), out).run()
    finally:
        os.chdir(before)
    return numbers(out)


def test_two_commands_at_once_and_one_after(study_file: Path, tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "grid"
    command = [*COMMAND, "run", str(study_file), "--out", str(out)]
    both = [
        subprocess.Popen(command, cwd=study_file.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    said = [process.communicate()[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert numbers(out) == alone and alone
    after = subprocess.run(command, cwd=study_file.parent, capture_output=True, text=True, check=False)
    assert after.returncode == 0, after.stderr
    assert numbers(out) == alone
    assert not list(out.glob("cells/*/.working")) and not list(out.rglob("*.partial"))


def test_tasks_on_dask_give_the_same_bytes(grid: Grid, alone: dict[str, bytes]) -> None:
    pytest.importorskip("distributed")
    run_on_dask(grid, jobs=2)
    assert all(row["state"] == "finished" for row in listed(grid))
    assert numbers(grid.out) == alone


def test_shares_cover_all_studies_once(grid: Grid) -> None:
    names = [cell.name for cell in grid.cells]
    taken = [cell.name for k in (1, 2) for cell in share_of(grid.cells, f"{k}/2")]
    assert sorted(taken) == sorted(names)
    assert {cell.name for k in range(1, 8) for cell in share_of(grid.cells, f"{k}/7")} == set(names)
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(InputError, match="must be a share such as 17/64"):
            share_of(grid.cells, wrong)
    grid.run_all(share_of(grid.cells, "2/2"))
    assert [row["state"] for row in listed(grid)] == ["0 of 2 parts", "finished"]


def test_the_script_for_a_queue(grid: Grid, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "cluster.yaml"
    settings.write_text("partition: gpu\nwalltime: '02:00:00'\nmemory: 16GB\ncores: 4\n")
    monkeypatch.setenv("BRAINMAP_CLUSTER", str(settings))
    script = queue_script(study_file, grid.out, 5)
    for line in ("#SBATCH --array=1-5", "#SBATCH --partition=gpu", "#SBATCH --time=02:00:00", "#SBATCH --mem=15259M"):
        assert line in script
    assert "--only ${SLURM_ARRAY_TASK_ID}/5" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_an_unknown_cluster_is_one_sentence(grid: Grid) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="There is no cluster 'slrum'; choose slurm, pbs, sge, lsf, htcondor, or a"):
        run_on_dask(grid, jobs=2, cluster="slrum")


def test_tasks_that_are_cut_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study_file: Path
) -> None:
    """Blocks of targets as tasks: more workers than parts, and batches so small that there are several."""
    monkeypatch.chdir(study_file.parent)
    for module in ("brainmap.encoding.engine", "brainmap.study.cluster.tasks"):
        monkeypatch.setattr(f"{module}.MAX_BATCH", 4)
    monkeypatch.setattr("brainmap.encoding.engine.MIN_BATCH", 4)
    monkeypatch.setitem(LEAST_SHARE, "encoding", 1e-9)
    config = GridConfig.from_yaml(study_file).cells()[0].config
    alone, cut = Study(config, tmp_path / "alone"), Study(config, tmp_path / "cut")
    alone.run(report=False)
    tasks = tasks_of([cut], workers=8)
    encoding = [task for task in tasks if task.stage == "encoding"]
    assert len(encoding) == 4 * len(cut.parts()) and all(task.part[-1].endswith("/4") for task in encoding if task.part)
    for task in reversed(encoding):
        do_task(described(task))
    assert not any(map(cut.finished, cut.parts()))
    for task in tasks:
        if task.stage != "encoding":
            do_task(described(task))
    assert numbers(cut.out) == numbers(alone.out) and not (cut.out / "shares").exists()
