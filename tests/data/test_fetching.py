from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from data.web_server import Site, serving
from study.own_files import run_brainmap

from brainmap.common.errors import InputError
from brainmap.data.fetching import Dataset, accept_terms, adopt, fetch, verify
from brainmap.data.fetching.download import DownloadError, fetch_file, part_of
from brainmap.data.manifests import load_manifest

CONTENT = {
    "a.bin": np.random.default_rng(0).bytes(300_000),
    "sub-01/b.bin": np.random.default_rng(1).bytes(5_000),
    "sub-02/b.bin": np.random.default_rng(2).bytes(5_000),
    "notes.txt": b"no hash is published for this one",
}


@pytest.fixture(autouse=True)
def own_config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("BRAINMAP_DATA", raising=False)


@pytest.fixture
def site():
    with serving(Site(dict(CONTENT))) as running:
        yield running


def dataset(folder: Path, base: str, *, confirm: bool = False) -> Dataset:
    files = [
        {"path": path, "bytes": len(content), "hash": "sha256", "digest": hashlib.sha256(content).hexdigest()}
        for path, content in CONTENT.items()
        if path != "notes.txt"
    ]
    manifest = {
        "name": "toy", "title": "Toy", "version": "1", "modality": "fmri", "citation": "none", "homepage": "none",
        "terms": {"licence": "own", "confirm": confirm, "text": "Be kind.", "url": "https://example.org/terms"},
        "size": 3, "base_url": base, "files": [*files, {"path": "notes.txt", "about": 30}],
        "subjects": {"1": {"code": "01", "sessions": 1}, "2": {"code": "02", "sessions": 1}},
        "stimuli": {"included": True, "source": "here"}, "space": "none", "reader": "arrays",
        "purposes": {"fit": ["a.bin", "sub-{code}/*"]},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.yaml").write_text(yaml.safe_dump(manifest))
    return Dataset.open(str(folder / "toy.yaml"), folder / "data")


def on_disk(data: Dataset) -> dict[str, bytes]:
    return {
        path.relative_to(data.root).as_posix(): path.read_bytes() for path in data.root.rglob("*") if path.is_file()
    }


def test_fetch_brings_what_an_analysis_needs_and_nothing_else(tmp_path, site):
    data = dataset(tmp_path, site.address)
    plan = fetch(data, purpose="fit", subjects=["2"])
    assert [entry.path for entry in plan.missing] == ["a.bin", "sub-02/b.bin"]
    assert plan.missing_bytes == 305_000 and plan.exact
    assert on_disk(data) == {name: CONTENT[name] for name in ("a.bin", "sub-02/b.bin")}
    asked = len(site.asked)
    assert fetch(data, purpose="fit", subjects=["2"]).missing == [] and len(site.asked) == asked


def test_a_broken_connection_is_continued_where_it_ended(tmp_path, site):
    site.cut["a.bin"] = 123_456
    data = dataset(tmp_path, site.address)
    fetch(data, purpose="fit", subjects=["1"], jobs=1)
    assert [asked for path, asked in site.asked if path == "a.bin"] == [None, "bytes=123456-"]
    assert on_disk(data)["a.bin"] == CONTENT["a.bin"]


def test_an_interrupted_download_is_never_taken_for_complete_and_goes_on_later(tmp_path, site):
    data = dataset(tmp_path, site.address)
    part = part_of(data.root / "a.bin")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT["a.bin"][:200_000])
    part.with_name(part.name + ".version").write_text('"v1"')
    assert "a.bin" in [entry.path for entry in data.plan().missing]
    assert verify(data).incomplete == ["a.bin.part"]
    fetch(data, purpose="fit", subjects=["1"])
    assert ("a.bin", "bytes=200000-") in site.asked
    assert on_disk(data) == {name: CONTENT[name] for name in ("a.bin", "sub-01/b.bin")}


def test_an_interrupt_keeps_what_arrived(tmp_path, site):
    data = dataset(tmp_path, site.address)
    entry = next(entry for entry in data.entries if entry.path == "a.bin")
    stop = threading.Event()
    stop.set()
    with pytest.raises(DownloadError, match="interrupted"):
        fetch_file(entry, data.root / "a.bin", stop=stop)
    assert not (data.root / "a.bin").exists() and part_of(data.root / "a.bin").stat().st_size > 0
    assert fetch_file(entry, data.root / "a.bin").read_bytes() == CONTENT["a.bin"]


def test_a_part_of_another_version_of_the_file_is_not_continued(tmp_path, site):
    site.tags["a.bin"] = '"v2"'
    data = dataset(tmp_path, site.address)
    part = part_of(data.root / "a.bin")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 200_000)
    part.with_name(part.name + ".version").write_text('"v1"')
    fetch(data, purpose="fit", subjects=["1"])
    assert on_disk(data)["a.bin"] == CONTENT["a.bin"]


def test_a_damaged_download_is_fetched_again_and_refused_if_it_stays_damaged(tmp_path, site):
    site.damaged["a.bin"] = 1
    data = dataset(tmp_path, site.address)
    fetch(data, purpose="fit", subjects=["1"])
    assert on_disk(data)["a.bin"] == CONTENT["a.bin"]
    site.damaged["sub-02/b.bin"] = 99
    with pytest.raises(DownloadError, match=r"1 of 1 files.*sub-02/b.bin arrived damaged"):
        fetch(data, purpose="fit", subjects=["2"])
    assert "sub-02/b.bin" not in on_disk(data)


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_believed(tmp_path, site):
    site.fail = {"a.bin": [503, 429], "sub-01/b.bin": [403]}
    data = dataset(tmp_path, site.address)
    with pytest.raises(DownloadError, match=r"1 of 2 files could not be fetched.*answers 403"):
        fetch(data, purpose="fit", subjects=["1"])
    assert set(on_disk(data)) == {"a.bin"}


def test_without_published_size_a_short_answer_is_still_noticed(tmp_path, site):
    site.cut["notes.txt"] = 10
    data = dataset(tmp_path, site.address)
    fetch(data)
    assert on_disk(data)["notes.txt"] == CONTENT["notes.txt"]


def test_terms_are_agreed_to_once_and_again_when_they_change(tmp_path, site):
    data = dataset(tmp_path, site.address, confirm=True)
    with pytest.raises(InputError, match=r"Be kind\. If you agree"):
        fetch(data)
    assert site.asked == []
    accept_terms(data.manifest)
    fetch(data)
    changed = data.manifest.model_copy(update={"terms": data.manifest.terms.model_copy(update={"text": "Be kinder."})})
    with pytest.raises(InputError, match="Be kinder"):
        fetch(Dataset(changed, data.root, data.lists))


def test_a_full_disk_is_noticed_before_anything_is_fetched(tmp_path, site, monkeypatch):
    data = dataset(tmp_path, site.address)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"are needed below .* but only 0\.0 GB are free"):
        fetch(data)
    assert site.asked == []


def test_files_that_are_had_by_hand_are_named_with_the_way(tmp_path):
    with pytest.raises(InputError, match=r"sub-01_ResponseData\.h5, cannot be fetched by brainmap.*figshare"):
        fetch(Dataset.open("things-fmri", tmp_path), purpose="fit", subjects=["1"])


def test_verify_names_flipped_truncated_missing_and_extra_files(tmp_path, site):
    data = dataset(tmp_path, site.address)
    fetch(data)
    assert verify(data, full=True).ok and verify(data, full=True).unhashed == ["notes.txt"]
    flipped = bytearray(CONTENT["a.bin"])
    flipped[1000] ^= 1
    (data.root / "a.bin").write_bytes(flipped)
    (data.root / "sub-01/b.bin").write_bytes(CONTENT["sub-01/b.bin"][:-1])
    (data.root / "sub-02/b.bin").unlink()
    (data.root / "sub-02/c.bin").write_bytes(b"")
    fast, full = verify(data), verify(data, full=True)
    assert (fast.missing, fast.wrong_size, fast.damaged) == (["sub-02/b.bin"], ["sub-01/b.bin"], [])
    assert (full.damaged, full.extra, full.ok) == (["a.bin"], ["sub-02/c.bin"], False)
    assert verify(data, subjects=["1"]).missing == []


def test_verify_of_the_real_list_by_size(tmp_path):
    """All 11,071 files of THINGS-MEG, sparse: 263 GB that take no room."""
    data = Dataset.open("things-meg", tmp_path / "things-meg")
    (data.root / "stimuli/dog").mkdir(parents=True)
    (data.root / "stimuli/dog/dog_01b.jpg").write_bytes(b"")  # the photographs, put there by hand
    for entry in data.entries:
        place = data.root / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as stream:
            stream.truncate(entry.bytes)
    assert verify(data).ok and verify(data).checked == 11071
    runs = [entry for entry in data.entries if entry.path.endswith(".meg4")]
    os.truncate(data.root / runs[7].path, (runs[7].bytes or 0) - 1)
    (data.root / runs[8].path).unlink()
    (data.root / "sub-BIGMEG1/ses-01/meg/._stray_events.tsv").write_bytes(b"x")
    found = verify(data)
    assert list(found.problems()) == [
        ("missing", runs[8].path),
        ("wrong size", runs[7].path),
        ("extra", "sub-BIGMEG1/ses-01/meg/._stray_events.tsv"),
    ]


def test_import_adopts_by_link_what_fits_and_refuses_what_does_not(tmp_path, site):
    data = dataset(tmp_path, site.address)
    elsewhere = tmp_path / "elsewhere" / "deep"
    (elsewhere / "sub-01").mkdir(parents=True)
    (elsewhere / "a.bin").write_bytes(CONTENT["a.bin"])
    (elsewhere / "sub-01/b.bin").write_bytes(b"short")
    (elsewhere / "b.bin").write_bytes(CONTENT["sub-02/b.bin"])  # whose? two files of the dataset are called so
    result = adopt(data, tmp_path / "elsewhere", check_hashes=True)
    assert result.linked == ["a.bin"]
    assert list(result.refused) == ["sub-01/b.bin"]
    assert (data.root / "a.bin").is_symlink() and verify(data, full=True, only="a.bin").ok
    assert adopt(data, tmp_path / "elsewhere").present == ["a.bin"]


def test_a_dataset_is_found_by_its_name_its_alias_or_what_it_holds(tmp_path):
    manifest = load_manifest("nsd")
    for name in ("nsd", "NSD"):
        (tmp_path / name / name).mkdir(parents=True)
        assert Dataset.open("nsd", tmp_path / name).root == tmp_path / name / name
    (tmp_path / "mine" / "nsddata").mkdir(parents=True)
    assert Dataset.open("nsd", tmp_path / "mine").root == tmp_path / "mine"
    assert Dataset.open("nsd", tmp_path).root == tmp_path / "nsd"
    assert manifest.recognise == ("nsddata", "nsddata_betas")
    with pytest.raises(InputError, match="--data-root, or set BRAINMAP_DATA"):
        Dataset.open("nsd")


def test_the_command_line_plans_fetches_verifies_and_imports(tmp_path, site):
    dataset(tmp_path, site.address, confirm=True)
    options = [str(tmp_path / "toy.yaml"), "--data-root", str(tmp_path / "data")]
    planned = run_brainmap("data", "plan", *options, "--subject", "1", cwd=tmp_path)
    assert "2 files, 305,000 bytes" in planned.stdout.splitlines()[-1] and "missing" in planned.stdout
    anywhere = run_brainmap("data", "plan", options[0], "--subject", "1", cwd=tmp_path)
    assert "missing: 2 files, 305,000 bytes" in anywhere.stdout
    refused = run_brainmap("data", "fetch", *options, cwd=tmp_path)
    assert refused.returncode == 2 and "--accept-terms" in refused.stderr
    assert run_brainmap("data", "fetch", *options, "--accept-terms", cwd=tmp_path).returncode == 0
    (tmp_path / "data" / "toy" / "a.bin").unlink()
    checked = run_brainmap("data", "verify", *options, "--for", "fit", cwd=tmp_path)
    assert checked.returncode == 2 and "missing     a.bin" in checked.stdout
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.bin").write_bytes(CONTENT["a.bin"])
    assert "1 files linked" in run_brainmap("data", "import", options[0], str(tmp_path / "old"), *options[1:],
                                            cwd=tmp_path).stdout  # fmt: skip
    assert run_brainmap("data", "verify", *options, "--full", "--for", "fit", cwd=tmp_path).returncode == 0
    shown = run_brainmap("data", "show", *options, cwd=tmp_path)
    assert "nothing" in shown.stdout and "Be kind. (agreed to)" in shown.stdout
