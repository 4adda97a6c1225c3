"""Where the rows live; an algorithm asks for totals over them and does not know."""

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.in_memory import InMemory

__all__ = ["Blocks", "InMemory"]
