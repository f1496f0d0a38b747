"""Rows of the tables of published numbers: ``panel | quantity | paper | here | n | data``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainmap.papers.paper_panel import count_of, data_word
from brainmap.report.words.p_and_numbers import format_p, format_score
from brainmap.results.collection import Member

Row = dict[str, str]
CHANCE = "nothing above chance"
COLUMNS = ("panel", "quantity", "paper", "here", "n", "data")


def number_row(panel: str, quantity: str, paper: str, here: str, n: str, members: Sequence[Member]) -> Row:
    """A published number beside the one found here."""
    return {"panel": panel, "quantity": quantity, "paper": paper, "here": here, "n": n, "data": data_word(members)}


def absent_row(panel: str, quantity: str, paper: str, sentence: str) -> Row:
    """A published number beside the sentence that says what is missing here."""
    row = {"panel": panel, "quantity": quantity, "paper": paper, "here": "—", "n": "0"}
    return row | {"data": f"absent: {sentence}"}


def subjects_words(member: Member, modality: str) -> str:
    """How many subjects the scores of a modality have, in words."""
    return count_of(int(member.results.scores[modality].sizes["subject"]))


def order_words(a: Mapping[Any, Any]) -> str:
    """A correlation over areas or layers, with its interval and all that is known of its p."""
    text = f"r = {format_score(a['r'])}"
    if "low" in a and "high" in a:
        text += f" [{format_score(a['low'])}, {format_score(a['high'])}]"
    words = {"areas_p": "areas independent", "slope_p": "slope"}
    other = [f"; {word} {format_p(a[name])}" for name, word in words.items() if name in a]
    text += f" ({format_p(a['p'])}{''.join(other)})"
    if "rho" not in a:
        return text
    return text + f", ρ = {format_score(a['rho'])} ({format_p(a['rho_p'])})"
