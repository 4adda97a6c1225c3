"""Run the command as ``python -m kmeans_xp.cli``."""

from kmeans_xp.cli import main

main()
