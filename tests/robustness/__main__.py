"""The long campaign: ``make robustness`` prints the table; exit code 1 if anything went wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from robustness.campaign import run_campaign
from robustness.killed_commands import main_of_kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=100, help="of writers, and as many of whole commands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = run_campaign(Path(folder), options.cases, options.kills, options.seed)
        print(tally.table())
        print("\n".join(tally.failures[:50]))
        failed = main_of_kills(Path(folder) / "commands", options.kills, options.seed)
    sys.exit(bool(tally.failures) or failed)


if __name__ == "__main__":
    main()
