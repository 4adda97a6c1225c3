"""``kmeans-xp compress-image``: reduce the colours of a picture."""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich import box
from rich.table import Table

from kmeans_xp import persistence
from kmeans_xp.cli import images
from kmeans_xp.cli.console import note, reported, results
from kmeans_xp.cli.options import DeviceOption, SeedOption, check_distinct
from kmeans_xp.cli.outputs import print_written
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.quantization import mean_sq_error, psnr, quantized

__all__ = ["compress_image"]


def compress_image(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE")],
    n_colours: Annotated[
        int,
        typer.Option("-k", "--n-colours", min=1, help="Maximum number of colours, up to 256."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The new picture, a .png file.")],
    seed: SeedOption = 0,
    max_pixels_to_learn: Annotated[
        int,
        typer.Option(
            min=1,
            help="If the picture has more colours than this, learn from this number of random "
            "pixels; otherwise from all pixels.",
        ),
    ] = 100_000,
    device: DeviceOption = "auto",
) -> None:
    """Write the picture FILE with at most -k colours, as PNG with a palette.

    FILE is PNG, JPEG, WebP, TIFF, BMP or another format that Pillow reads. Transparency is part
    of the colours: fully transparent pixels stay so. The printed sizes are file sizes.
    """
    started = time.perf_counter()
    _check(n_colours, max_pixels_to_learn, file, out)
    with reported(), persistence.staged(out) as (temporary,):
        with progress(f"Reading {file.name}"):
            picture = images.read(file)
        with progress("Learning the colours"):
            result = quantized(
                picture, n_colours, seed=seed, max_pixels=max_pixels_to_learn, device=device
            )
        with progress("Writing"):
            images.write(result.indexed, temporary, picture.icc_profile)
            sizes = [  # a list, not a dict: both files may have the same name
                (file.name, file.stat().st_size),
                ("truecolour PNG", picture.truecolour_size()),
                (out.name, temporary.stat().st_size),
            ]
        sq_error = mean_sq_error(picture, result.indexed)
    height, width, _ = picture.pixels.shape
    n_kept = len(result.indexed.palette)
    console = results()
    console.print(f"\n{file.name}: {width:,} x {height:,} pixels, {result.n_distinct:,} colours")
    console.print(_size_table(sizes))
    console.print(f"Colours: {n_kept}, in {images.n_bits(n_kept)} bits a pixel")
    console.print(f"Mean squared error: {sq_error:.2f} (of 0 to 255 a channel)")
    console.print(f"Peak signal-to-noise ratio: {psnr(sq_error):.2f} dB")
    console.print(f"Device: {result.device_reason}")
    console.print(f"Time: {time.perf_counter() - started:.2f} s")
    print_written(out)
    if sizes[-1][1] >= sizes[0][1]:
        note(f"{out.name} is not smaller than {file.name}: that format suits the picture better")


def _check(n_colours: int, max_pixels: int, file: Path, out: Path) -> None:
    """Raise, before any work, if the arguments cannot be used."""
    if n_colours > images.MOST_COLOURS:
        raise typer.BadParameter(
            f"the palette of a PNG file holds {images.MOST_COLOURS} colours, not {n_colours}",
            param_hint="-k",
        )
    if max_pixels < n_colours:
        raise typer.BadParameter(
            f"{n_colours} colours cannot be learned from {max_pixels} pixels",
            param_hint="--max-pixels-to-learn",
        )
    if out.suffix.lower() != ".png":
        raise typer.BadParameter(
            f"the extension {out.suffix!r} is not known; the picture is written as .png",
            param_hint="--out",
        )
    check_distinct(file, out)


def _size_table(sizes: list[tuple[str, int]]) -> Table:
    """Return the sizes of files, and the ratio of each to the last."""
    table = Table("file", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("bytes", justify="right")
    table.add_column("ratio", justify="right")
    last = sizes[-1][1]
    for name, size in sizes:
        table.add_row(name, f"{size:,}", f"{np.divide(size, last):.2f}")
    return table
