"""What jobs ask for: read from two places, refused where it cannot be meant, said in the words of each queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brainmap.common.errors import InputError
from brainmap.study import GridConfig
from brainmap.study.cluster.pools import QUEUES, queue_options
from brainmap.study.declared.job_settings import checked_jobs, job_settings


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "cluster.yaml"
    monkeypatch.setenv("BRAINMAP_CLUSTER", str(file))
    return file


def test_the_study_file_speaks_over_the_user_s_own_settings(own_file: Path) -> None:
    own_file.write_text("partition: cpu\naccount: lab\ncores: 4\nwalltime: 8:00:00\n")
    settings = job_settings({"cores": 16, "memory": "64GB"})
    assert (settings.partition, settings.account, settings.cores) == ("cpu", "lab", 16)
    assert settings.seconds == 8 * 3600
    own_file.unlink()
    with pytest.raises(InputError, match=r"BRAINMAP_CLUSTER names .* there is no such file"):
        job_settings()


def test_a_block_in_a_study_file() -> None:
    flat = GridConfig.from_dict({"dataset": "sample", "cluster": {"cores": 2}})
    assert flat.cluster == {"cores": 2} and flat.study == {"dataset": "sample"}
    with pytest.raises(InputError, match=r"study file, 'cluster': unknown setting 'wall_time'; known: .*walltime"):
        GridConfig.from_dict({"dataset": "sample", "cluster": {"wall_time": "01:00:00"}})
    over = GridConfig.from_dict({"preset": "misalignment", "cluster": {"gpus": 1}})
    assert over.cluster == {"gpus": 1}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"wall": 1}, "unknown setting 'wall'"),
        ({"queue": "cpu"}, "unknown setting 'queue'"),
        ({"walltime": "30:00"}, "hours, minutes and seconds"),
        ({"walltime": 60}, "walltime"),
        ({"walltime": "00:00:00"}, "leaves no time"),
        ({"cores": 0}, "cores"),
        ({"cores": "many"}, "cores"),
        ({"memory": "lots"}, "is not a size"),
        ({"partition": "a b"}, "one plain word"),
        ({"account": "$(rm)"}, "one plain word"),
        ({"directives": ["--a\n--b"]}, "one line"),
        ({"environment": {"1X": "y"}}, "no name of a variable"),
        ({"gpu": {"gpus": 0}}, "ask for no GPU"),
        ({"gpus": 1, "gpu": {"partition": "a100"}}, "not both"),
        ({"gpu": {"gpu": {}}}, "no 'gpu' of their own"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        checked_jobs(values, "cluster.yaml")
    assert str(refused.value).startswith("cluster.yaml")


def test_gpu_tasks_have_jobs_of_their_own() -> None:
    settings = checked_jobs({"partition": "cpu", "cores": 8, "gpu": {"partition": "a100", "cores": 4}}, "x")
    jobs = settings.for_gpu_tasks
    assert jobs is not None and (jobs.partition, jobs.cores, jobs.gpus) == ("a100", 4, 1)
    assert settings.gpus == 0
    assert checked_jobs({}, "x").for_gpu_tasks is None


@pytest.mark.parametrize(
    ("queue", "lines"),
    [
        ("slurm", ["-p cpu", "-A lab", "--cpus-per-task=4", "--mem=15G", "-t 1-02:00:00", "--gpus=2", "--qos=long"]),
        ("pbs", ["-q cpu", "-A lab", "select=1:ncpus=4:mem=15259mb:ngpus=2", "walltime=26:00:00", "--qos=long"]),
        ("sge", ["-q cpu", "-P lab", "h_rt=26:00:00", "-l gpu=2"]),
        ("lsf", ["-q cpu", "-n 4", "-W 26:00", '-gpu "num=2"']),
        ("htcondor", ["request_gpus = 2", "MaxRuntime = 93600"]),
    ],
)
def test_each_queue_has_its_words(queue: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    asked = {"cores": 4, "memory": "16GB", "walltime": "1-02:00:00", "gpus": 2, "environment": ["module load cuda"]}
    if queue != "htcondor":
        asked |= {"partition": "cpu", "account": "lab", "directives": ["--qos=long"]}
    options = queue_options(queue, checked_jobs(asked, "x"))
    if queue == "lsf":
        options["lsf_units"] = "mb"
    job = getattr(jobqueue, QUEUES[queue]).job_cls("tcp://scheduler:8786", name="worker", **options)
    script = job.job_script()
    for line in lines:
        assert line in script, script
    assert "module load cuda" in script and "export OMP_NUM_THREADS=3" in script
    assert "BRAINMAP_JOB_END=" in script and "+ 93600" in script


def test_htcondor_has_no_partitions() -> None:
    with pytest.raises(InputError, match="htcondor has no partitions"):
        queue_options("htcondor", checked_jobs({"partition": "cpu"}, "x"))
