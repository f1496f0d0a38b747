"""``python -m brainmap``: the command line."""

from brainmap.cli import main

if __name__ == "__main__":
    main()
