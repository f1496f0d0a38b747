from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from brainmap.common.errors import InputError
from brainmap.common.storage.files import checked_relative, file_hash, inside
from brainmap.data.manifests import list_manifests, load_manifest
from brainmap.data.manifests.catalog import dataset_files, read_manifest
from brainmap.data.manifests.file_entries import chosen_entries, resolve_subject

MINIMAL = {
    "name": "toy", "title": "Toy", "version": "1", "modality": "fmri", "terms": {"licence": "CC0-1.0"},
    "citation": "none", "homepage": "none", "size": 3, "by_hand": "ask", "files": [{"path": "a.txt", "bytes": 3}],
    "subjects": {"1": {"code": "01", "sessions": 2}}, "stimuli": {"included": True, "source": "here"},
    "space": "none", "reader": "arrays",
}  # fmt: skip


def write(folder: Path, **changes: object) -> Path:
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(MINIMAL | changes))
    return file


def test_all_named_datasets_have_a_manifest_with_files_for_every_subject():
    wanted = {"nsd", "algonauts2023", "things-meg", "things-fmri", "things-eeg2", "nod-meg", "nod-fmri", "bold5000"}
    wanted.add("bold5000-raw")
    assert wanted == set(list_manifests())
    for name in wanted:
        manifest = load_manifest(name)
        entries = dataset_files(manifest)
        for subject in manifest.subjects:
            assert chosen_entries(entries, manifest, "fit", [subject])


def test_the_real_lists_give_the_real_totals():
    meg, fmri = (dataset_files(load_manifest(name)) for name in ("things-meg", "things-fmri"))
    assert len(meg) == 11071 and sum(entry.bytes or 0 for entry in meg) == 263_008_520_963
    assert sum(entry.path.endswith("_meg.meg4") for entry in meg) == 480
    assert sum(entry.path.endswith("_channels.tsv") for entry in meg) == 470
    listed = [entry for entry in fmri if entry.bytes is not None]
    assert len(listed) == 2459 and sum(entry.bytes or 0 for entry in listed) == load_manifest("things-fmri").size
    assert all(entry.digest for entry in [*meg, *listed])


@pytest.mark.parametrize(
    ("name", "files", "large", "hash_kind", "size"),
    [
        ("nod-meg", 82_212, 80_948, "sha256-128", 199_680_558_401),
        ("nod-fmri", 67_381, 63_520, "sha256-128", 493_849_183_305),
        ("bold5000-raw", 14_884, 9_995, "md5", 300_970_727_901),
    ],
)
def test_lists_of_openneuro_have_every_file(name: str, files: int, large: int, hash_kind: str, size: int):
    manifest = load_manifest(name)
    entries = dataset_files(manifest)
    assert len(entries) == files and sum(entry.hash == hash_kind for entry in entries) == large
    assert sum(entry.bytes or 0 for entry in entries) == manifest.size == size
    assert all(entry.digest for entry in entries)


def test_nsd_has_its_true_session_counts_and_says_that_sizes_are_approximate():
    manifest = load_manifest("nsd")
    assert [facts.sessions for facts in manifest.subjects.values()] == [40, 40, 32, 30, 40, 32, 40, 30]
    betas = [e for e in chosen_entries(dataset_files(manifest), manifest, "fit", ["3"]) if "betas_session" in e.path]
    assert len(betas) == 64 and {entry.bytes for entry in betas} == {None}
    assert betas[0].about == 284 + 163842 * 750 * 4
    assert betas[0].url == f"{manifest.base_url}/{betas[0].path}"


def test_things_meg_fit_needs_one_subject_only():
    manifest = load_manifest("things-meg")
    chosen = chosen_entries(dataset_files(manifest), manifest, "fit", ["BIGMEG2"])
    assert sum(entry.path.endswith(".meg4") for entry in chosen) == 120
    assert not any("sub-BIGMEG1" in entry.path for entry in chosen)


def test_real_sidecars_match_the_published_hashes(shared_data):
    root = shared_data / "things_meta" / "ds004212"
    known = {entry.path: entry for entry in dataset_files(load_manifest("things-meg"))}
    files = [file for file in root.rglob("*") if file.is_file() and file.relative_to(root).as_posix() in known]
    assert len(files) == 129
    for file in files:
        entry = known[file.relative_to(root).as_posix()]
        assert (file.stat().st_size, file_hash(file, entry.hash)) == (entry.bytes, entry.digest)


@pytest.mark.parametrize("name", ["1", "01", "subj01"])
def test_subjects_go_by_several_names(name):
    assert resolve_subject(load_manifest("nsd"), name) == "1"
    with pytest.raises(InputError, match="has no subject '9'"):
        resolve_subject(load_manifest("nsd"), "9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": 1}, "'licens' = 1: Extra inputs"),
        ({"files": [{"path": "../a"}]}, "does not stay inside"),
        ({"files": [{"path": "/etc/passwd"}]}, "does not stay inside"),
        ({"files": [{"path": "a", "hash": "md5"}]}, "go together"),
        ({"by_hand": ""}, "must say in 'by_hand'"),
        ({"base_url": "ftp://x"}, "https://"),
        ({"file_list": "../list.xz"}, "does not stay inside"),
        ({"modality": "pet"}, "modality"),
    ],
)
def test_a_manifest_that_breaks_the_schema_is_refused_by_key_and_value(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_manifest(write(tmp_path, **changes))


def test_a_path_named_twice_is_refused(tmp_path):
    manifest = read_manifest(write(tmp_path, files=[{"path": "a"}, {"path": "a"}]))
    with pytest.raises(InputError, match="names 'a' twice"):
        dataset_files(manifest, tmp_path)


def test_yaml_is_read_safely(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("name: !!python/object/apply:os.system ['true']")
    with pytest.raises(InputError, match="not valid YAML"):
        read_manifest(file)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "~/x", "C:/x", "a\\b", "", "a\nb"])
def test_paths_never_leave_the_folder(path):
    with pytest.raises(InputError, match="does not stay inside"):
        checked_relative(path)


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads out"):
        inside(tmp_path / "data", "out/file")


def test_the_wheel_ships_the_manifests():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "data_manifests": "brainmap/data_manifests"
    }
