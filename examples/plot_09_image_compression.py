"""
Images in few colours
=====================

Each pixel of a photograph is a point: red, green and blue. The centroids of the pixels are the
palette: the few colours that represent all of them best. A file that stores the number of a
centroid for each pixel is smaller than one that stores its full colour.

On the command line: ``kmeans-xp compress-image china.jpg -k 16 -o china.png``.
"""

import argparse
import io

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from kmeans_xp import KMeans, assign

parser = argparse.ArgumentParser(description="Images in few colours.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device

N_COLOURS = (2, 4, 8, 16, 64, 256)


# %%
# The fit takes the *different* colours of the picture, each with its number of pixels as
# ``sample_weight``. The clusters are the same, from fewer rows. Centroids are rounded to the 256
# levels that a file holds. Then each pixel takes the nearest of the rounded ones.
def in_few_colours(pixels, colours, counts, model):
    """Return the palette, and each pixel's index in it."""
    model.fit(colours, sample_weight=counts)
    palette = np.round(model.cluster_centers_).astype(np.uint8)
    return palette, assign(pixels, palette.astype(np.float32), device=device).labels


def file_size(image, **options):
    with io.BytesIO() as file:
        image.save(file, "PNG", optimize=True, **options)
        return file.tell()


def size_as_palette(palette, labels):
    """Return the size of a PNG file of 1, 2, 4 or 8 bits a pixel."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette.tobytes())
    bits = next(bits for bits in (1, 2, 4, 8) if len(palette) <= 2**bits)
    return file_size(image, bits=bits)


# %%
# The mean of the squared differences (MSE) measures the error. So does the peak signal-to-noise
# ratio (PSNR) in decibels: 10 more decibels are a tenth of the error.
def compressed(picture, n_colours_list=N_COLOURS):
    """Return a dictionary from k to (bytes, ratio, MSE, PSNR, picture)."""
    full = file_size(Image.fromarray(picture))
    pixels = picture.reshape(-1, 3).astype(np.float32)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    results = {}
    for n_colours in n_colours_list:
        model = KMeans(n_colours, n_init=1, random_state=0, device=device)
        palette, labels = in_few_colours(pixels, colours, counts.astype(np.float32), model)
        labels = labels.reshape(picture.shape[:2])
        size, shown = size_as_palette(palette, labels), palette[labels]
        mse = float(np.mean((picture.astype(np.float64) - shown) ** 2))
        results[n_colours] = (size, full / size, mse, 10 * np.log10(255**2 / mse), shown)
    return results


def report(picture, results, title):
    print(f"{title}: {file_size(Image.fromarray(picture)):,} bytes as PNG without a palette")
    print("colours     bytes   ratio      MSE  PSNR (dB)")
    for n_colours, (size, ratio, mse, psnr, _) in results.items():
        print(f"{n_colours:7}  {size:8,}  {ratio:6.1f}  {mse:7.1f}  {psnr:9.2f}")
    _, axes = plt.subplots(2, 4, figsize=(16, 6.2), layout="constrained")
    shown = {"the original": picture} | {f"{k} colours": row[-1] for k, row in results.items()}
    for ax, (name, image) in zip(axes.flat, shown.items(), strict=False):
        ax.imshow(image, interpolation="none")
        ax.set_title(name)
    for ax in axes.flat:
        ax.axis("off")
    curve = axes.flat[-1]
    curve.axis("on")
    curve.plot(list(results), [row[3] for row in results.values()], "o-", color="#0072B2")
    curve.set_xscale("log", base=2)
    curve.set_xticks(list(results), [str(n_colours) for n_colours in results])
    curve.set(xlabel="colours", ylabel="PSNR (dB)")


# %%
# A made picture
# --------------
# Red grows from left to right, green from top to bottom. The picture *is* a plane of colours, and
# so shows what clusters are: regions with straight borders, much like honeycombs when there are
# many. Four times as many are half as wide, which quarters the error: 6 decibels.
#
# The table also shows that fewer colours do not always make a smaller file. PNG stores how a pixel
# differs from its neighbours, and these ramps always differ by the same. The borders of regions are
# harder to store.
ramp = np.zeros((256, 256, 3), dtype=np.uint8)
ramp[..., 0], ramp[..., 1], ramp[..., 2] = np.arange(256)[None], np.arange(256)[:, None], 96
ramp_results = compressed(ramp, N_COLOURS)
report(ramp, ramp_results, "Two ramps")

# %%
# Photographs
# -----------
# Here few colours do save. Sixteen give files 7 and 11 times smaller. One sees steps in the sky
# and the blurred background, where colours change slowly. 64 colours hide most of them. With 256,
# at a third of the size, one has to look closely. Each fourfold number of colours adds 4 to 6
# decibels.
#
# The originals here are the JPEG files of the photographs. They have 197 and 143 kB, more than 256
# colours (146 and 104 kB). They are part of scikit-learn: china.jpg by danielbuechele and
# flower.jpg by vultilion, both on Flickr, under CC BY 2.0.
photographs = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
photograph_results = {name: compressed(picture) for name, picture in photographs.items()}
for name, results in photograph_results.items():
    report(photographs[name], results, name)
plt.show()
