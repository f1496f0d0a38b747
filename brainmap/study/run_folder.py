"""The run folder: what belongs to one study, written so that an interruption leaves nothing half-done."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import DamagedError, InputError, MissingFileError, NotVerifiedWarning
from brainmap.common.storage.digests import check_folder, damages, is_sealed
from brainmap.common.storage.file_errors import os_sentence
from brainmap.common.storage.files import (
    atomic_folder,
    copy_contents,
    inside,
    is_leftover,
    recover_folder,
    write_atomically,
)
from brainmap.common.storage.locks import clear_dead, file_lock
from brainmap.encoding import EncodingResult
from brainmap.encoding.score_files import KIND as ENCODED
from brainmap.features.shard_files import array_damages
from brainmap.features.store import FeatureStore
from brainmap.study.declared.schema import renamed_settings

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = "study.json"
RESULTS = "results"
REPORT = "report.html"
DIGEST = "digest"  # of the identity, in study.json
DAMAGED = "damaged.json"  # what `brainmap verify` found
ASIDE = ".damaged"
FEATURES_ROOT = "BRAINMAP_FEATURES"  # environment variable
OF_FEATURES = (
    "model", "weights", "layers", "site", "pooling", "wrt", "objective", "bridge", "bridge_weights", "projection",
    "terms", "batch_size",
)  # fmt: skip


class RunFolder:
    """Folder of one study.

    Parameters
    ----------
    path : Path
        Created when the study is claimed.

    Notes
    -----
    ``study.json`` says what the folder holds, ``features/`` is the feature store, each finished encoding result lies
    in ``scores/<modality>/<subject>/<space>``, ``permutations/`` what a permutation test has finished, ``truth/``
    what a simulation planted, ``hypotheses/`` what was registered, ``encoders/`` fits that are kept, ``results/`` and
    ``report.html`` come last.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.features = shared_features() or self.path / "features"
        self.permutations = self.path / "permutations"
        self.results = self.path / RESULTS
        self.report = self.path / REPORT
        self.truth = self.path / "truth"
        self.hypotheses = self.path / "hypotheses"
        self.kept = self.path / "encoders"
        self.studies: Path | None = None  # of a grid: what no model decides is taken over from the others
        self.lending_key = ""  # of :func:`key_without_features`
        self._warned = False

    def claim(self, identity: dict[str, Any]) -> None:
        """Reserve the folder for what ``identity`` describes.

        Raises
        ------
        InputError
            If the folder belongs to a study with other settings or other data: nothing computed is overwritten.
        """
        wanted = json.loads(json.dumps(identity, sort_keys=True))
        file = self.path / IDENTITY
        if file.is_file():
            stored = _sound_identity(file.read_text(encoding="utf-8", errors="replace"))
            if stored is not None:  # it stays as it is, on a read-only disk, too
                self._refuse_another(stored, wanted)
                return
        with file_lock(self.path.with_name(f".{self.path.name}.claim"), purpose=f"begins {self.path}"):
            self._claim(wanted)

    def _claim(self, wanted: dict[str, Any]) -> None:
        file = self.path / IDENTITY
        text = json.dumps({**wanted, DIGEST: _digest(wanted)}, indent=2, sort_keys=True)
        if file.exists():
            written = file.read_text(encoding="utf-8", errors="replace")
            stored = _sound_identity(written)
            if stored is None and _digest(wanted) in written:
                warnings.warn(f"{file} is damaged; it is written again.", stacklevel=2)
                write_atomically(file, text)
            elif stored is None:
                raise DamagedError(
                    f"{file} is damaged, so what {self.path} holds cannot be told; choose another folder with --out, "
                    f"or restore {IDENTITY}",
                    file,
                )
            else:
                self._refuse_another(stored, wanted)
            return
        if self.path.is_file() or (self.path.is_dir() and not all(map(is_leftover, self.path.iterdir()))):
            raise InputError(f"{self.path} exists and is not a run of brainmap; choose another folder with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.iterdir():  # of a process that was killed just here
            leftover.unlink()
        write_atomically(file, text)

    def _refuse_another(self, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
        if _renamed(stored) != wanted:
            raise InputError(
                f"{self.path} holds another study ({first_difference(_renamed(stored), wanted)}); "
                "choose another folder with --out"
            )

    def lock(self, name: str) -> Path:
        """File that stands for the work on one part of the run: who holds it computes that part."""
        return self.path / ".working" / f"{name}.lock"

    def scores(self, modality: str, subject: str, space: str) -> Path:
        """Where the encoding result of one feature space lies."""
        return self.path / "scores" / modality / subject / space

    def encoders(self, modality: str, subject: str, signal: str) -> Path:
        """Where the kept encoders of one signal lie."""
        return self.kept / modality / subject / signal

    def load_scores(self, modality: str, subject: str, space: str) -> EncodingResult | None:
        """Return a finished encoding result, or None; one that is damaged is set aside with a warning."""
        path = self.scores(modality, subject, space)
        recover_folder(path)
        if not path.is_dir():
            return None
        try:
            with warnings.catch_warnings():
                if not is_sealed(path):  # one warning for the whole run, not one a result
                    warnings.simplefilter("ignore", NotVerifiedWarning)
                    self._warn_not_verified()
                return EncodingResult.load(path, lazy=True)
        except DamagedError as error:
            self.set_aside(path, str(error))
            return None

    def borrow_scores(self, modality: str, subject: str, space: str) -> EncodingResult | None:
        """Copy an encoding result from another study of the grid that differs in the features of its model only.

        Only for spaces that no model decides. None where there is none, or it is damaged.
        """
        own = self.scores(modality, subject, space)
        for study in sorted(self.studies.iterdir()) if self.studies is not None and self.lending_key else ():
            other = study / "scores" / modality / subject / space
            if other == own or not other.is_dir() or _lent_under(other) != self.lending_key:
                continue
            with suppress(DamagedError, OSError), atomic_folder(own) as partial:
                copy_contents(other, partial)
                check_folder(partial, ENCODED, full=True)
            if own.is_dir():
                return self.load_scores(modality, subject, space)
        return None

    def lend_scores(self, modality: str, subject: str, space: str) -> None:
        """Let other studies of the grid copy an encoding result."""
        if self.lending_key:
            write_atomically(_key_file(self.scores(modality, subject, space)), self.lending_key)

    def share(self, part: tuple[str, str, str], share: tuple[int, int]) -> Path:
        """Where a share of the targets of an encoding lies until all shares are put together."""
        return self.path.joinpath("shares", *part, f"{share[0]}-of-{share[1]}")

    def shares(self, modality: str, subject: str, space: str) -> list[Path]:
        """Shares of an encoding, in order, if all of them are there; else none."""
        part = (modality, subject, space)
        for last in self.path.joinpath("shares", *part).glob("*-of-*"):
            number, _, of = last.name.partition("-of-")
            every = [self.share(part, (each, int(of))) for each in range(1, int(of) + 1)] if number == of else []
            if every and all(each.is_dir() for each in every):
                return every
        return []

    def forget_shares(self, modality: str, subject: str, space: str) -> None:
        """Remove shares that have been put together."""
        shares = self.path / "shares" / modality / subject / space
        shutil.rmtree(shares, ignore_errors=True)
        with suppress(OSError):
            for folder in list(shares.parents)[:3]:
                folder.rmdir()

    def damaged_identity(self) -> tuple[Path, str] | None:
        """Whether ``study.json`` is not what was written: the file and what is wrong, or None."""
        file = self.path / IDENTITY
        sound = _sound_identity(file.read_text(encoding="utf-8", errors="replace"))
        return None if sound is not None else (file, "is damaged")

    # -- damage ---------------------------------------------------------------------------------------------------

    def sealed_parts(self) -> list[Path]:
        """Folders that carry, or should carry, a list of digests: results, truth, and each encoding result."""
        parts = [*self.path.glob("scores/*/*/*"), *self.kept.glob("*/*/*")]
        scores = sorted(path for path in parts if path.is_dir() and path.name[0] != ".")
        return [path for path in (self.results, self.truth, self.hypotheses) if path.is_dir()] + scores

    def damages(self, *, full: bool) -> Iterator[tuple[Path, str]]:
        """Go through the files that are missing or not what was written, with what is wrong.

        Parameters
        ----------
        full : bool
            Read everything; else names and sizes of all files, and the hashes of small ones.
        """
        for part in self.sealed_parts():
            if is_sealed(part):
                yield from damages(part, full=full)
        if self.features == shared_features():  # other studies', too; what is damaged there is met when it is read
            return
        for array in FeatureStore(self.features).folders():
            yield from array_damages(array, full=full)

    def note_damages(self, files: Iterable[Path]) -> None:
        """Keep the names of damaged files for the command that computes them again; none removes the note."""
        names = [file.relative_to(self.path).as_posix() for file in files]
        note = self.path / DAMAGED
        if names:
            write_atomically(note, json.dumps(names, indent=1))
        elif note.exists():
            note.unlink()

    def noted_damages(self) -> list[Path]:
        """Files that ``brainmap verify`` found damaged."""
        try:
            names = json.loads((self.path / DAMAGED).read_text(encoding="utf-8"))
            return [inside(self.path, str(name)) for name in names]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def mend(self, file: Path, problem: str) -> bool:
        """Take what a damaged file belongs to out of the way, so that exactly this is computed again.

        Returns
        -------
        bool
            False if the file is none that a run wrote.
        """
        if file.is_relative_to(self.hypotheses):  # nothing computes again what somebody has written
            return False
        for part in (self.results, self.truth, self.path / "shares", *self.sealed_parts()):
            if file.is_relative_to(part):
                if part.exists():
                    self.set_aside(part, problem)
                return True
        if file.is_relative_to(self.features) and FeatureStore(self.features).mend(file):
            warnings.warn(f"{problem.rstrip('.')}. These features are computed again.", stacklevel=2)
            return True
        return False

    def set_aside(self, part: Path, problem: str) -> None:
        """Move a damaged part out of the way; it is removed when the run is complete."""
        again = "" if "anew" in problem else " It is computed again."
        warnings.warn(f"{problem.rstrip('.')}.{again}", stacklevel=3)
        place = self.path / ASIDE
        place.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process has just done it
            os.replace(part, place / f"{part.name}-{secrets.token_hex(4)}")

    def completed(self) -> None:
        """Remove what was set aside: everything has been computed again."""
        shutil.rmtree(self.path / ASIDE, ignore_errors=True)
        self.note_damages([])

    def left(self) -> None:
        """Remove the folder of locks, unless other processes hold some."""
        with suppress(OSError):
            clear_dead(self.lock("").parent)
            self.lock("").parent.rmdir()

    def _warn_not_verified(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.path} is not verified: its scores were written before brainmap kept digests.",
                NotVerifiedWarning,
                stacklevel=3,
            )


def shared_features() -> Path | None:
    """Return the one store of features of all studies of a site, if ``BRAINMAP_FEATURES`` names it."""
    named = os.environ.get(FEATURES_ROOT)
    return Path(named).expanduser().absolute() if named else None


def _sound_identity(text: str) -> dict[str, Any] | None:
    """Identity in the text of ``study.json``, or None if it is damaged; older files carry no digest."""
    try:
        stored = json.loads(text)
    except ValueError:
        return None
    if not isinstance(stored, dict):
        return None
    digest = stored.pop(DIGEST, None)
    return stored if digest is None or digest == _digest(stored) else None


def _renamed(identity: dict[str, Any]) -> dict[str, Any]:
    """Identity with the settings of earlier versions under the names of today."""
    return {**identity, "config": renamed_settings(identity.get("config", {}))}


def _key_file(scores: Path) -> Path:
    return scores.with_name(f".{scores.name}.key")


def _lent_under(scores: Path) -> str | None:
    try:
        return _key_file(scores).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def key_without_features(identity: dict[str, Any], photographs: pd.DataFrame) -> str:
    """Digest of what decides the scores of spaces that no model does: all but the settings of a model's features."""
    config = {key: value for key, value in identity["config"].items() if key not in OF_FEATURES}
    table = hashlib.sha256(photographs.to_csv().encode()).hexdigest()
    return _digest({**identity, "config": config, "weights_digest": None, "photographs": table})


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def check_out(path: Path) -> Path:
    """Return the path if it can be a folder.

    Raises
    ------
    InputError
        If it, or what it lies in, is a file, a link that leads nowhere or in a circle, or has a name that is too long.
    """
    for place in (path, *path.parents):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():
                raise InputError(f"{place} is a link to what is not there; choose another folder with --out") from None
            continue
        except OSError as error:
            raise InputError(f"{os_sentence(error).rstrip('.')} (--out names another folder).") from error
        if not is_folder:
            raise InputError(f"{place} is a file; choose a folder with --out")
    return path


def config_of(path: Path) -> dict[str, Any]:
    """Return the settings of the study in a run's folder, under the names of today.

    Raises
    ------
    DamagedError
        If the file that holds them is damaged.
    """
    file = path / IDENTITY
    identity = _sound_identity(file.read_text(encoding="utf-8", errors="replace"))
    if identity is None:
        raise DamagedError(f"{file} is damaged; the command that made the run writes it again", file)
    return dict(_renamed(identity).get("config", {}))


def finished_folder(path: Path) -> RunFolder:
    """Return the folder of a finished run.

    Raises
    ------
    MissingFileError
        If the folder holds no finished run.
    """
    folder = RunFolder(path)
    if not (folder.path / IDENTITY).is_file():
        several = sorted(file.parent for file in [*path.glob(f"*/{IDENTITY}"), *path.glob(f"cells/*/{IDENTITY}")])
        inside_one = next((above for above in path.parents if (above / IDENTITY).is_file()), None)
        meant = f"; give the folder of one of its {len(several)} runs, such as {several[0]}" if several else ""
        meant = f"; give {inside_one}, in which it lies" if inside_one is not None else meant
        raise MissingFileError(f"{path} is not a run of brainmap (it has no {IDENTITY}){meant}")
    if not folder.results.is_dir():
        raise MissingFileError(f"the run in {path} is not finished; run the command that began it again")
    return folder


def first_difference(stored: Any, wanted: Any, where: str = "") -> str:
    """Name the first setting in which two identities differ."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(set(stored) | set(wanted)):
            if stored.get(key) != wanted.get(key):
                return first_difference(stored.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    return f"{where}: there {json.dumps(stored)}, here {json.dumps(wanted)}"
