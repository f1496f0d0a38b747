"""Put the figure of an example on its page: figures of brainmap are returned, not kept by pyplot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def figure_of_example(block: tuple, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save what an example calls ``figure``, once, and return the markup that shows it."""
    figure = block_vars["example_globals"].get("figure")
    plt.close("all")
    if not isinstance(figure, Figure) or getattr(figure, "on_page_of", None) == block_vars["src_file"]:
        return ""
    figure.on_page_of = block_vars["src_file"]  # type: ignore[attr-defined]
    path = str(next(block_vars["image_path_iterator"]))
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")
    return figure_rst([path], gallery_conf["src_dir"])


def _get_sg_image_scraper() -> Callable[..., str]:
    """Hand the function to sphinx-gallery."""
    return figure_of_example
