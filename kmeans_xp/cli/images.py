"""Read pictures of any format, and write them as PNG with a palette."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["MOST_COLOURS", "ImageError", "Indexed", "Picture", "n_bits", "read", "write"]

Matrix = np.ndarray[Any, Any]

#: maximum of colours in the palette of a PNG file
MOST_COLOURS = 256


class ImageError(ValueError):
    """A file that cannot be read as a picture."""


class Picture(NamedTuple):
    """A picture of 8 bits a channel.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 4)
        Red, green, blue and alpha; all are 0 where alpha is 0.
    icc_profile : bytes or None
        Colour profile, if the file has one.
    """

    pixels: Matrix
    icc_profile: bytes | None = None

    @property
    def is_opaque(self) -> bool:
        """Whether no pixel is transparent."""
        return bool((self.pixels[..., 3] == 255).all())

    @property
    def packed(self) -> Matrix:
        """The pixels as one number each, of shape (height * width,)."""
        return self.pixels.view(np.uint32).ravel()

    def truecolour_size(self) -> int:
        """Return the picture's size in bytes as a PNG file without a palette."""
        image = Image.fromarray(self.pixels)
        with io.BytesIO() as file:
            (image.convert("RGB") if self.is_opaque else image).save(file, "PNG")
            return file.tell()


class Indexed(NamedTuple):
    """A picture as a palette, and the index of each pixel's colour.

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
    """Read a picture upright, in 8 bits; the first if the file has several."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            colours = _eight_bits(upright, path)
            pixels = np.array(colours.convert("RGBA"))  # a copy, since Pillow's array is read-only
            profile = image.info.get("icc_profile") if image.mode in _RGB_MODES else None
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not a picture that Pillow can read.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large: {error} Scale it down first.") from error
    except ImageError:
        raise
    except Exception as error:  # each format's reader raises other errors
        raise ImageError(
            f"{path} cannot be read as a picture: {str(error).rstrip('.')}. Is it cut off?"
        ) from error
    pixels[pixels[..., 3] == 0] = 0
    return Picture(pixels, profile)


def write(indexed: Indexed, path: Path, icc_profile: bytes | None = None) -> None:
    """Write a PNG file with a palette, with as few bits per pixel as its colours need."""
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
    """Return the number of bits per pixel of a PNG file with ``n_colours`` colours."""
    return next(bits for bits in (1, 2, 4, 8) if n_colours <= 2**bits)


# For these modes the profile stays valid after a conversion to RGB; for grey or CMYK it does not.
_RGB_MODES = ("P", "RGB", "RGBA", "RGBX", "RGBa")


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Return the image in a mode that converts to RGBA and loses only precision."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65_535:
            raise ImageError(
                f"{path} holds {image.mode} values, and their range is not known: "
                "save it with 8 or 16 bits per channel first."
            )
        # Pillow's own conversion would clip 16-bit values at 255.
        return Image.fromarray(np.round(values / 257.0).astype(np.uint8))
    return image
