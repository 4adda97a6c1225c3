"""Pictures: read from files of any kind, and written as PNG with a palette."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["MOST_COLOURS", "ImageError", "Indexed", "Picture", "n_bits", "read", "write"]

Matrix = np.ndarray[Any, Any]

#: what the palette of a PNG file holds
MOST_COLOURS = 256


class ImageError(ValueError):
    """A file that cannot be read as a picture."""


class Picture(NamedTuple):
    """A picture of 8 bits a channel.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 4)
        Red, green, blue and alpha; all are 0 where alpha is.
    icc_profile : bytes or None
        What the colours mean, where the file says so.
    """

    pixels: Matrix
    icc_profile: bytes | None = None

    @property
    def is_opaque(self) -> bool:
        """Whether nothing shines through any pixel."""
        return bool((self.pixels[..., 3] == 255).all())

    @property
    def packed(self) -> Matrix:
        """The pixels as one number each, of shape (height * width,)."""
        return self.pixels.view(np.uint32).ravel()

    def truecolour_size(self) -> int:
        """Return the bytes that the picture takes as a PNG file without a palette."""
        image = Image.fromarray(self.pixels)
        with io.BytesIO() as file:
            (image.convert("RGB") if self.is_opaque else image).save(file, "PNG")
            return file.tell()


class Indexed(NamedTuple):
    """A picture as colours and the number of its colour for each pixel.

    Parameters
    ----------
    palette : ndarray of uint8, shape (n_colours, 4)
        Red, green, blue and alpha.
    indices : ndarray of uint8, shape (height, width)
    """

    palette: Matrix
    indices: Matrix

    @property
    def pixels(self) -> Matrix:
        """The picture as ``Picture.pixels``."""
        return self.palette[self.indices]


def read(path: Path) -> Picture:
    """Read a picture as it is meant to be seen: upright, in 8 bits, the first of several."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            colours = _eight_bits(upright, path)
            pixels = np.array(colours.convert("RGBA"))  # a copy: Pillow's own cannot be written to
            profile = image.info.get("icc_profile") if image.mode in _RGB_MODES else None
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no picture that Pillow can read.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large: {error} Scale it down first.") from error
    except ImageError:
        raise
    except Exception as error:  # each reader of a format has errors of its own
        raise ImageError(
            f"{path} cannot be read as a picture: {str(error).rstrip('.')}. Is it cut off?"
        ) from error
    pixels[pixels[..., 3] == 0] = 0
    return Picture(pixels, profile)


def write(indexed: Indexed, path: Path, icc_profile: bytes | None = None) -> None:
    """Write a PNG file with a palette, in as few bits a pixel as its colours need."""
    height, width = indexed.indices.shape
    image = Image.frombytes("P", (width, height), indexed.indices.tobytes())
    image.putpalette(indexed.palette[:, :3].tobytes())
    options: dict[str, Any] = {"bits": n_bits(len(indexed.palette)), "optimize": True}
    alpha = indexed.palette[:, 3]
    if (alpha < 255).any():
        options["transparency"] = alpha.tobytes()
    if icc_profile:
        options["icc_profile"] = icc_profile
    image.save(path, "PNG", **options)


def n_bits(n_colours: int) -> int:
    """Return the bits of an index into ``n_colours`` colours, as PNG stores it."""
    return next(bits for bits in (1, 2, 4, 8) if n_colours <= 2**bits)


# Their profile still holds after a conversion to RGB; that of grey or CMYK does not.
_RGB_MODES = ("P", "RGB", "RGBA", "RGBX", "RGBa")


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Return the image in a mode whose conversion to RGBA loses no more than bits."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65_535:
            raise ImageError(
                f"{path} holds {image.mode} values, whose black and white are not known: "
                "save it in 8 or 16 bits a channel first."
            )
        # Pillow's own conversion would cut off at 255 what reaches to 65535.
        return Image.fromarray(np.round(values / 257.0).astype(np.uint8))
    return image
