"""``kmeans-xp compress-image``: what it writes, and what it reports."""

import io
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster

pytest.importorskip("typer")
pytest.importorskip("PIL")

from PIL import Image, ImageCms
from sklearn.datasets import load_sample_image

from kmeans_xp import devices
from kmeans_xp.cli import images, quantization

Run = Callable[..., Any]


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "compress-image")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A real photograph, small: 160 x 106 pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(load_sample_image("china.jpg")[::4, ::4]).save(path)
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def png_header(path: Path) -> tuple[int, int, int, int]:
    """Return width, height, bit depth and colour type as the file's first chunk has them."""
    content = path.read_bytes()
    assert content[12:16] == b"IHDR"
    return struct.unpack(">IIBB", content[16:26])


def told(done: Any, pattern: str) -> str:
    found = re.search(pattern, done.stdout)
    assert found, done.stdout
    return found[1]


def rgba(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


@pytest.mark.parametrize(
    ("n_colours", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)]
)
def test_the_palette_takes_as_few_bits_as_it_needs(
    n_colours: int, bits: int, run: Run, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    done = run(photo, "-k", n_colours, "-o", out)
    assert done.exit_code == 0, done.output
    assert png_header(out) == (160, 107, bits, 3)  # 3: with a palette
    assert len(np.unique(rgba(out).reshape(-1, 4), axis=0)) == n_colours
    assert told(done, r"Colours: (.*)") == f"{n_colours}, in {bits} bits a pixel"


@pytest.mark.parametrize("name", ["out.png", "small/photo.png"])
def test_the_numbers_are_those_of_the_files(
    name: str, run: Run, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / name
    out.parent.mkdir(exist_ok=True)
    done = run(photo, "-k", 16, "-o", out)
    assert "is not smaller" not in done.stderr
    before, after = rgba(photo)[..., :3].astype(float), rgba(out)[..., :3].astype(float)
    mse = np.mean((before - after) ** 2)
    assert float(told(done, r"Mean squared error: ([\d.]+)")) == pytest.approx(mse, abs=0.005)
    psnr = 10 * np.log10(255**2 / mse)
    assert float(told(done, r"noise ratio: ([\d.]+) dB")) == pytest.approx(psnr, abs=0.005)
    assert 20 < psnr < 40
    with io.BytesIO() as file:
        Image.open(photo).save(file, "PNG")
        full = file.tell()
    sizes = [photo.stat().st_size, full, out.stat().st_size]
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = [
        line[-2:] for line in lines if line and line[0] in ("photo.png", "truecolour", "out.png")
    ]
    assert rows == [[f"{size:,}", f"{size / sizes[-1]:.2f}"] for size in sizes]
    n_distinct = len(np.unique(before.reshape(-1, 3), axis=0))
    assert f"photo.png: 160 x 107 pixels, {n_distinct:,} colours" in done.stdout


def test_it_learns_what_scikit_learn_learns(run: Run, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    run(photo, "-k", 8, "--seed", 3, "-o", out)
    pixels = rgba(photo)[..., :3].reshape(-1, 3).astype(np.float64)
    theirs = sklearn.cluster.KMeans(8, random_state=0, n_init=10).fit(pixels)
    ours = np.sum((pixels - rgba(out)[..., :3].reshape(-1, 3)) ** 2)
    # Another start, and colours rounded to whole levels.
    assert theirs.inertia_ < ours < 1.05 * theirs.inertia_


def test_pixels_have_the_nearest_colour_that_was_written(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    run(photo, "-k", 20, "--max-pixels-to-learn", 500, "-o", out)
    before, after = (rgba(path)[..., :3].reshape(-1, 3).astype(int) for path in (photo, out))
    palette = np.unique(after, axis=0)
    sq_distances = ((before[:, None] - palette) ** 2).sum(axis=2)
    np.testing.assert_array_equal(((before - after) ** 2).sum(axis=1), sq_distances.min(axis=1))


def test_a_sample_learns_nearly_as_well(run: Run, photo: Path, tmp_path: Path) -> None:
    errors = []
    for n_pixels in (100_000, 2000):
        done = run(photo, "-k", 16, "--max-pixels-to-learn", n_pixels, "-o", tmp_path / "out.png")
        errors.append(float(told(done, r"Mean squared error: ([\d.]+)")))
    assert errors[0] != errors[1]
    assert errors[1] < 1.15 * errors[0]


@pytest.mark.parametrize("n_pixels", [300, 100_000])
def test_the_same_seed_gives_the_same_file(
    n_pixels: int, run: Run, photo: Path, tmp_path: Path
) -> None:
    contents = []
    for i, seed in enumerate([0, 0, 1]):
        out = tmp_path / f"{i}.png"
        run(photo, "-k", 16, "--seed", seed, "--max-pixels-to-learn", n_pixels, "-o", out)
        contents.append(out.read_bytes())
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(("n_distinct", "bits"), [(1, 1), (2, 1), (5, 4)])
def test_few_colours_are_kept_as_they_are(
    n_distinct: int, bits: int, run: Run, tmp_path: Path
) -> None:
    colours = noise(n_distinct, 3)
    pixels = colours[np.arange(12 * 7).reshape(12, 7) % n_distinct]
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(pixels).save(file)
    done = run(file, "-k", 64, "-o", out)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(rgba(out)[..., :3], pixels)
    assert png_header(out)[2] == bits
    assert told(done, r"Colours: (\d+)") == str(n_distinct)
    assert told(done, r"Mean squared error: ([\d.]+)") == "0.00"
    assert told(done, r"noise ratio: (.*)") == "inf dB"


def test_colours_that_come_twice_are_written_once(run: Run, tmp_path: Path) -> None:
    # 401 colours, most of one pixel: a sample holds fewer colours than are asked for.
    pixels = np.full((100, 100, 3), 255, dtype=np.uint8)
    pixels[::5, ::5] = noise(20, 20, 3)
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(pixels).save(file)
    done = run(file, "-k", 100, "--max-pixels-to-learn", 300, "-o", out)
    assert done.exit_code == 0, done.output
    n_written = len(np.unique(rgba(out).reshape(-1, 4), axis=0))
    assert int(told(done, r"Colours: (\d+)")) == n_written < 100
    assert re.search(r"Note: Number of distinct clusters \(\d+\) found smaller", done.stderr)


def test_clear_pixels_stay_clear_and_opaque_ones_opaque(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    pixels = np.dstack([np.asarray(Image.open(photo)), np.full((107, 160), 255, np.uint8)])
    pixels[20:50, 30:90, 3] = 0
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(pixels).save(file)
    assert run(file, "-k", 16, "-o", out).exit_code == 0
    after = rgba(out)
    np.testing.assert_array_equal(after[..., 3], pixels[..., 3])
    assert len(np.unique(after.reshape(-1, 4), axis=0)) == 16
    # The colour under clear pixels is not learned: 15 colours for the rest.
    seen = pixels[..., 3] == 255
    mse = np.mean((after[seen][:, :3].astype(float) - pixels[seen][:, :3]) ** 2)
    opaque = sklearn.cluster.KMeans(15, n_init=3, random_state=0).fit(pixels[seen][:, :3])
    assert mse < 1.05 * opaque.inertia_ / (3 * seen.sum())


def test_half_transparent_pixels_are_clustered_by_what_shows(run: Run, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, ramp[None]
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(pixels).save(file)
    done = run(file, "-k", 9, "-o", out)
    assert done.exit_code == 0, done.output
    after = rgba(out)
    assert (after[:, 0] == 0).all()
    visible = after[after[..., 3] > 0]
    assert np.abs(visible[:, 0].astype(int) - 200).max() <= 2
    assert np.abs(after[..., 3].astype(int) - ramp[None]).max() <= 24  # of 255 / 8 = 32
    shown = [array[..., :3] * (array[..., 3:] / 255.0) for array in (pixels, after)]
    alphas = [array[..., 3:].astype(float) for array in (pixels, after)]
    both = [np.concatenate(parts, axis=2) for parts in zip(shown, alphas, strict=True)]
    mse = np.mean((both[0] - both[1]) ** 2)
    assert float(told(done, r"Mean squared error: ([\d.]+)")) == pytest.approx(mse, abs=0.006)


def test_a_wholly_clear_picture_is_one_colour(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    hidden = noise(8, 8, 4)
    hidden[..., 3] = 0
    Image.fromarray(hidden).save(file)
    assert run(file, "-k", 1, "-o", out).exit_code == 0
    assert not rgba(out).any()


def test_one_colour_cannot_be_clear_and_not(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.uint8([[[1, 2, 3, 255], [0, 0, 0, 0]]])).save(file)
    done = run(file, "-k", 1, "-o", out)
    assert_one_error(done, "Some pixels of the picture are transparent .* use 2 or more")
    assert run(file, "-k", 2, "-o", out).exit_code == 0


def as_sixteen_bits(grey: np.ndarray) -> Image.Image:
    return Image.fromarray(grey.astype(np.uint16) * 257)


MODES: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "1": lambda grey: Image.fromarray(grey).convert("1"),
    "L": Image.fromarray,
    "LA": lambda grey: Image.fromarray(grey).convert("LA"),
    "I;16": as_sixteen_bits,
    "P": lambda grey: Image.fromarray(grey).quantize(8),
    "RGB": lambda grey: Image.fromarray(np.dstack([grey, grey.T, grey[::-1]])),
    "RGBA": lambda grey: Image.fromarray(np.dstack([grey, grey.T, grey[::-1], grey | 128])),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_png_is_read(mode: str, run: Run, tmp_path: Path) -> None:
    image = MODES[mode](np.sort(noise(16, 16), axis=1))
    assert image.mode == mode
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    image.save(file)
    done = run(file, "-k", 256, "-o", out)
    assert done.exit_code == 0, done.output
    if mode == "I;16":
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    expected = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(rgba(out), expected)


@pytest.mark.parametrize(
    ("name", "mode"), [("a.jpg", "CMYK"), ("a.webp", "RGB"), ("a.bmp", "RGB"), ("a.tiff", "LAB")]
)
def test_other_formats_are_read(name: str, mode: str, run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / name, tmp_path / "out.png"
    Image.new(mode, (5, 4), tuple(range(50, 50 + len(mode)))).save(file)
    done = run(file, "-k", 2, "-o", out)
    assert done.exit_code == 0, done.output
    assert png_header(out)[:2] == (5, 4)


def test_transparency_by_a_colour_is_kept(run: Run, tmp_path: Path) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette(bytes([255, 0, 0, 0, 255, 0]))
    image.putdata([0, 1, 0, 1])
    file, out = tmp_path / "in.gif", tmp_path / "out.png"
    image.save(file, transparency=1)
    assert run(file, "-k", 4, "-o", out).exit_code == 0
    assert rgba(out)[0].tolist() == [[255, 0, 0, 255], [0, 0, 0, 0]] * 2


def test_a_turned_photograph_is_set_upright(run: Run, tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4), "red")
    image.paste("blue", (0, 0, 3, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    image.save(file, exif=exif)
    assert run(file, "-k", 2, "-o", out).exit_code == 0
    assert png_header(out)[:2] == (4, 6)
    assert rgba(out)[0, 0].tolist() == [0, 0, 255, 255]
    assert rgba(out)[-1, 0].tolist() == [255, 0, 0, 255]
    with Image.open(out) as written:
        assert not written.getexif()


@pytest.mark.parametrize(("mode", "is_kept"), [("RGB", True), ("L", False)])
def test_a_profile_is_kept_where_it_still_holds(
    mode: str, is_kept: bool, run: Run, tmp_path: Path
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.new(mode, (4, 4)).save(file, icc_profile=profile)
    assert run(file, "-k", 2, "-o", out).exit_code == 0
    with Image.open(out) as written:
        assert written.info.get("icc_profile") == (profile if is_kept else None)


def test_many_bands_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = images.Picture(np.ascontiguousarray(noise(20, 30, 4)))
    results = []
    for band in (2**20, 77):
        monkeypatch.setattr(quantization, "BAND", band)
        result = quantization.quantized(picture, 12, seed=0, max_pixels=10_000, device=None)
        error = quantization.mean_sq_error(picture, result.indexed)
        results.append((result.indexed, error))
    np.testing.assert_array_equal(results[0][0].pixels, results[1][0].pixels)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-12)


def test_a_larger_file_is_told(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "in.jpg", tmp_path / "out.png"
    Image.fromarray(noise(40, 40, 3)).resize((200, 200)).save(file, quality=10)
    done = run(file, "-k", 256, "-o", out)
    assert out.stat().st_size > file.stat().st_size
    assert "Note: out.png is not smaller than in.jpg" in done.stderr


def test_the_device_is_told(run: Run, photo: Path, tmp_path: Path) -> None:
    done = run(photo, "-k", 3, "--device", "cpu", "-o", tmp_path / "out.png")
    assert "Device: device='cpu' was asked for" in done.stdout
    assert f"Wrote: {tmp_path / 'out.png'}" in done.stdout


def assert_one_error(done: Any, message: str, exit_code: int = 1) -> None:
    assert done.exit_code == exit_code, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert done.stdout == ""
    assert re.search(message, done.stderr), done.stderr


@pytest.fixture
def _nothing_written(tmp_path: Path) -> Iterator[None]:
    yield
    names = [path.name for path in tmp_path.iterdir()]
    assert not [name for name in names if name.startswith(("out", "."))]


@pytest.mark.usefixtures("_nothing_written")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "257", "-o", "out.png"], "the palette of a PNG file holds 256 colours, not 257"),
        (["-k", "0", "-o", "out.png"], "Invalid value for '-k'"),
        (["-o", "out.png"], "Missing option '-k'"),
        (["-k", "4"], "Missing option '-o'"),
        (["-k", "4", "-o", "out.jpg"], "extension '.jpg' is not known; the picture is written as"),
        (["-k", "4", "-o", "photo.png"], "photo.png would be overwritten"),
        (
            ["-k", "4", "--max-pixels-to-learn", "3", "-o", "out.png"],
            "4 colours cannot be learned from 3 pixels",
        ),
        (["-k", "4", "--seed", "-1", "-o", "out.png"], "Invalid value for '--seed'"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    arguments: list[str], message: str, run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the picture was read")

    monkeypatch.setattr(images, "read", fail)
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    assert_one_error(run("photo.png", *arguments), message, 2)
    assert photo.read_bytes() == before


@pytest.mark.usefixtures("_nothing_written")
def test_bad_devices_and_folders_are_one_error(run: Run, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = run(photo, "-k", 2, "--device", "abacus", "-o", out)
    assert_one_error(done, "'abacus' is not known", 2)
    done = run(photo, "-k", 2, "-o", tmp_path / "absent" / "out.png")
    assert_one_error(done, "No such file or directory: .*absent/out.png'")
    assert_one_error(run(tmp_path / "absent.png", "-k", 2, "-o", out), "does not exist", 2)


@pytest.mark.skipif(
    any(report.usable and report.device.startswith("cuda") for report in devices.available()),
    reason="CUDA is usable here",
)
@pytest.mark.usefixtures("_nothing_written")
def test_cuda_without_cuda_is_one_error(run: Run, photo: Path, tmp_path: Path) -> None:
    done = run(photo, "-k", 2, "--device", "cuda", "-o", tmp_path / "out.png")
    assert_one_error(done, "'cuda(:0)?' was asked for, but ")


@pytest.mark.usefixtures("_nothing_written")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "in.png is not a picture that Pillow can read"),
        (b"a,b\n1,2\n", "in.png is not a picture that Pillow can read"),
        (b"cut", "in.png cannot be read as a picture: .*cut off"),
    ],
)
def test_bad_files_are_one_error(
    content: bytes, message: str, run: Run, photo: Path, tmp_path: Path
) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(photo.read_bytes()[:2000] if content == b"cut" else content)
    assert_one_error(run(file, "-k", 2, "-o", tmp_path / "out.png"), message)


@pytest.mark.usefixtures("_nothing_written")
def test_what_has_no_white_and_black_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.tiff"
    Image.fromarray(np.float32([[0.0, 1.0]])).save(file)
    done = run(file, "-k", 2, "-o", tmp_path / "out.png")
    assert_one_error(done, "holds F values, and their range is not known: save it with 8")


@pytest.mark.usefixtures("_nothing_written")
def test_bombs_are_refused(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    done = run(photo, "-k", 2, "-o", tmp_path / "out.png")
    assert_one_error(done, "photo.png is too large: Image size .* Scale it down first")


def test_a_failed_run_leaves_an_older_file(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    out = tmp_path / "out.png"
    out.write_bytes(b"older")
    monkeypatch.setattr(images, "write", fail)
    assert_one_error(run(photo, "-k", 2, "-o", out), "disk full")
    assert out.read_bytes() == b"older"
    assert {path.name for path in tmp_path.iterdir()} == {"out.png", "photo.png"}


def test_help(run: Run) -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert "--max-pixels-to-learn" in done.stdout
