"""Colour conversion and resampling against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage.color import rgb2ycbcr

from codecs import colour, vvc
from tests.codecs_cases import psnr
from tests.conftest import DATA


def test_bt601_equals_scikit_image(photo):
    # scikit-image gives limited range; its coefficients are rounded to three decimals.
    expected = rgb2ycbcr(photo)
    y, cb, cr = colour.to_ycbcr(photo, colour.BT601)
    np.testing.assert_allclose(y, (expected[..., 0] - 16) / 219, atol=1e-5)
    np.testing.assert_allclose(cb, (expected[..., 1] - 128) / 224, atol=1e-5)
    np.testing.assert_allclose(cr, (expected[..., 2] - 128) / 224, atol=1e-5)


def test_bt709_equals_the_recommendation(photo):
    """Rec. ITU-R BT.709-6, items 3.2 and 3.3."""
    red, green, blue = np.moveaxis(photo / 255, -1, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    y, cb, cr = colour.to_ycbcr(photo, colour.BT709)
    np.testing.assert_allclose(y, luma, atol=1e-6)
    np.testing.assert_allclose(cb, (blue - luma) / 1.8556, atol=1e-6)
    np.testing.assert_allclose(cr, (red - luma) / 1.5748, atol=1e-6)


@pytest.mark.parametrize(("bits", "peak", "grey"), [(8, 255, 128), (10, 1023, 512)])
def test_quantised_known_values(bits, peak, grey):
    image = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)
    y, cb, cr = colour.to_ycbcr(image, colour.BT709)
    assert colour.quantise_luma(y, bits)[0, :2].tolist() == [peak, 0]
    assert colour.quantise_chroma(cb, bits)[0, :2].tolist() == [grey, grey]
    assert colour.quantise_chroma(cr, bits)[0, 2] == peak
    assert colour.quantise_chroma(cb, bits)[0, 3] == peak


@pytest.mark.parametrize("matrix", [colour.BT709, colour.BT601])
def test_round_trip(photo, matrix):
    assert psnr(photo, colour.round_trip_444(photo, matrix)) >= 52
    assert np.array_equal(photo, colour.round_trip_444(photo, matrix, bits=10))


def test_halving_equals_pillow(photo):
    plane = colour.to_ycbcr(photo, colour.BT709)[1]
    expected = np.asarray(PillowImage.fromarray(plane).reduce(2))
    np.testing.assert_allclose(colour.halve(plane), expected, atol=1e-6)


def test_doubling_equals_pillow_away_from_the_edges(photo):
    plane = colour.to_ycbcr(photo, colour.BT709)[1]
    height, width = plane.shape
    resized = PillowImage.fromarray(plane).resize(
        (2 * width, 2 * height), PillowImage.Resampling.BICUBIC
    )
    inside = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(colour.double(plane)[inside], np.asarray(resized)[inside], atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_doubling_keeps_flat_planes_flat(shape):
    plane = np.full(shape, 0.25, np.float32)
    doubled = colour.double(plane)
    assert doubled.shape == (2 * shape[0], 2 * shape[1])
    np.testing.assert_allclose(doubled, 0.25, atol=1e-6)


def _through_420(image):
    samples = np.concatenate([plane.ravel() for plane in vvc.planes_of(image)])
    rows, columns = vvc.padded_size(*image.shape[:2])
    return vvc.image_of(samples, rows, columns)[: image.shape[0], : image.shape[1]]


def test_what_chroma_subsampling_costs(photo):
    ceiling = psnr(photo, _through_420(photo))
    assert 40 < ceiling < 52
    odd = photo[:175, :191]
    assert psnr(odd, _through_420(odd)) > 40


def test_ceiling_on_kodak():
    """The figure measured with another implementation of the same filters."""
    path = DATA / "kodak" / "kodim03.png"
    if not path.is_file():
        pytest.skip("Kodak is not here (set BENCH_DATA)")
    image = np.asarray(PillowImage.open(path).convert("RGB"))
    assert psnr(image, _through_420(image)) == pytest.approx(48.01, abs=0.01)
