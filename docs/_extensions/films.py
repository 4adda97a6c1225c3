"""Films in the gallery: each animation that a block of an example has made is shown as a GIF."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import matplotlib.pyplot as plt
from matplotlib.animation import Animation
from sphinx_gallery.scrapers import figure_rst

#: those of the blocks before, whose names are still there
_shown: WeakSet[Animation] = WeakSet()


def show_films(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the animations of figures that are open, and close these."""
    paths = []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Animation) and value not in _shown:
            _shown.add(value)
            path = Path(next(block_vars["image_path_iterator"])).with_suffix(".gif")
            value.save(path, writer="pillow", dpi=80)
            plt.close(value._fig)
            paths.append(str(path))
    return figure_rst(paths, gallery_conf["src_dir"])


def _get_sg_image_scraper() -> Callable[..., str]:
    return show_films
