"""How Sphinx builds these pages: ``nox -s docs``, without a look at the network."""

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

import kmeans_xp  # noqa: E402

project = "kmeans_xp"
author = "kmeans_xp developers"
project_copyright = "kmeans_xp developers"
release = kmeans_xp.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "public_names",
    "command_line",
    "links",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.zip", "**/README.md"]
templates_path = ["_templates"]
nitpicky = True
smartquotes = False  # it makes dashes of the hyphens of options
suppress_warnings = ["config.cache"]  # the settings of the gallery hold functions

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings say more
autosummary_generate = True
# Kernel and kernel would be one file where names of files have no case.
autosummary_filename_map = {"kmeans_xp.kernels.kernel": "kmeans_xp.kernels.kernel_decorator"}
numpydoc_show_class_members = False  # the template of classes lists them
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "kmeans_xp"
html_static_path = ["_static"]
html_css_files = ["kmeans_xp.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "install": [], "tour": []}  # no pages below these

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "examples")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": "/plot_",
    "ignore_pattern": "__init__|conftest|/make_",
    "abort_on_example_error": False,  # all of them are run, and then the build fails
    "only_warn_on_example_error": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 1,
    "show_signature": False,
    "plot_gallery": "True",
    "doc_module": ("kmeans_xp",),
    "backreferences_dir": None,
    "write_computation_times": False,
    "capture_repr": (),
    "image_scrapers": ("films", "matplotlib"),
    "within_subsection_order": "FileNameSortKey",
}


def _only_rst_headers(app: Sphinx, config: Config) -> None:
    # A folder with a README.md, such as examples/data, is not a part of the gallery.
    config.sphinx_gallery_conf["source_suffix"] = {".rst": "restructuredtext"}


def setup(app: Sphinx) -> None:
    """Settle what settings alone cannot."""
    app.connect("config-inited", _only_rst_headers, priority=900)
