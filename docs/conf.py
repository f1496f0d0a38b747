"""Settings of the site: ``make docs`` builds it into ``docs/_build/html``, without a network."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "sphinxext"))

import brainmap  # noqa: E402

# A site that is to be quick (the tests build one) leaves the examples of the gallery as they are written.
EXECUTE = os.environ.get("BRAINMAP_GALLERY", "execute") == "execute"

project = "brainmap"
author = "The brainmap developers"
copyright = "The brainmap developers, BSD-3-Clause"
version = release = brainmap.__version__
html_title = f"brainmap {release}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.githubpages",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "reference_pages",
    "links_of_the_repository",
]
exclude_patterns = ["_build", "examples/*.rst", "reviews", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
root_doc = "index"
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(numpy|np|pd|pandas|xr|xarray|torch|sklearn|scipy|matplotlib|mne|nilearn|himalaya|zarr|h5py)\..*"),
]

autodoc_typehints = "none"  # types stand in the table of parameters
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
autosummary_generate = False
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
suppress_warnings = ["config.cache", "myst.header"]  # tables of docs/calibration.md begin at the third level

html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_end": ["theme-switcher"],
    "logo": {"text": "brainmap"},
    "pygments_light_style": "default",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {"index": [], "changelog": []}

sphinx_gallery_conf = {
    "examples_dirs": ["examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "plot_gallery": EXECUTE,
    "only_warn_on_example_error": False,
    "abort_on_example_error": False,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("brainmap",),
    "reference_url": {"brainmap": None},
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "capture_repr": (),  # what is printed is shown, not the last object of a block
    "download_all_examples": False,
    "min_reported_time": 1,
    "image_scrapers": ("gallery_figures",),
    "matplotlib_animations": False,
    "reset_modules": ("matplotlib",),
    "nested_sections": False,
    "within_subsection_order": "FileNameSortKey",
}

warnings.filterwarnings("ignore", category=UserWarning, message="FigureCanvasAgg is non-interactive")


def warning_in_words(message: Warning | str, category: type[Warning], *_: object, **__: object) -> str:
    """Show a warning of an example without the folder that this machine keeps the example in."""
    return f"{category.__name__}: {message}\n"


warnings.formatwarning = warning_in_words
