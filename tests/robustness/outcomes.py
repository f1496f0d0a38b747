"""Outcomes of damaged and hostile input, and the table that counts them."""

from __future__ import annotations

import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from brainmap.common.errors import BrainmapError

RIGHT, SENTENCE, TRACEBACK, HANG, SILENT = "right answer", "one sentence", "traceback", "hang", "silent"
OUTCOMES = (RIGHT, SENTENCE, TRACEBACK, HANG, SILENT)
PATIENCE = 20  # seconds; the machine may be busy


class Hang(BaseException):
    """A case that does not end."""


class Silent(Exception):
    """A case that ended with other numbers than it should, without a word."""


@dataclass
class Tally:
    """What happened, by kind of input."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, outcome: str, detail: str = "") -> None:
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome not in (RIGHT, SENTENCE):
            self.failures.append(f"{kind} {name}: {outcome} {detail}")

    def table(self) -> str:
        head = f"{'kind':<22}{'tried':>8}" + "".join(f"{outcome:>14}" for outcome in OUTCOMES)
        rows = [*self.counts.items(), ("all", sum(self.counts.values(), Counter()))]
        lines = [
            f"{kind:<22}{sum(count.values()):>8}" + "".join(f"{count[outcome]:>14}" for outcome in OUTCOMES)
            for kind, count in rows
        ]
        return "\n".join([head, *lines])


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(tally: Tally, kind: str, name: str, case: Callable[[], None]) -> None:
    """Run a case: it returns if the answer is right, and raises `Silent` if it is not."""
    try:
        with warnings.catch_warnings(), time_limit(PATIENCE):
            warnings.simplefilter("ignore")
            case()
        tally.add(kind, name, RIGHT)
    except Hang:
        tally.add(kind, name, HANG)
    except Silent as error:
        tally.add(kind, name, SILENT, str(error))
    except BrainmapError as error:
        text = str(error)
        if text.strip() and all(letter.isprintable() or letter == "\n" for letter in text):
            tally.add(kind, name, SENTENCE)
        else:
            tally.add(kind, name, SILENT, f"the sentence {text!r} is empty or steers a terminal")
    except Exception:
        tally.add(kind, name, TRACEBACK, traceback.format_exc(limit=-3))
