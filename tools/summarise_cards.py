"""Count every model's layers and parameters and list its objectives, for ``brainmap models show``.

Run it after a card or an objective was added: ``python tools/summarise_cards.py`` rewrites
``brainmap/models/loading/card_summaries.json``. Nothing is fetched: networks are built on torch's ``meta`` device.
"""

from __future__ import annotations

import json
from pathlib import Path

from brainmap.models import list_models
from brainmap.models.loading.card_summaries import summarise

TARGET = Path(__file__).parents[1] / "brainmap" / "models" / "loading" / "card_summaries.json"


def main() -> None:
    """Write the file."""
    summaries = {name: summarise(name).model_dump() for name in list_models()}
    TARGET.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")
    print(f"{len(summaries)} models in {TARGET}")


if __name__ == "__main__":
    main()
