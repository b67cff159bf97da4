"""What learned codecs in somebody's file are made of: padding and the frame of a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from codecs import framing
from codecs.base import BitstreamError, EncodeError
from codecs.helpers import MODES, crop, frame, pad, to_image, to_tensor, unframe


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (3, 70), (64, 64), (65, 63)])
def test_pictures_and_tensors_are_padded_alike(photo, mode, size):
    image = photo[: size[0], : size[1]]
    padded = pad(image, 64, mode)
    sides = [-(-side // 64) * 64 for side in size]
    assert padded.shape == (*sides, 3)
    assert padded.flags.c_contiguous
    assert np.array_equal(to_image(pad(to_tensor(image), 64, mode), *sides), padded)
    assert np.array_equal(crop(padded, *size), image)
    assert np.array_equal(to_image(pad(to_tensor(image), 64, mode), *size), image)


def test_tensors_are_padded_as_torch_does():
    x = torch.rand(2, 3, 45, 50)
    for mode, theirs in (("edge", "replicate"), ("reflect", "reflect"), ("zero", "constant")):
        ours = pad(x, 32, mode)
        assert torch.equal(ours, functional.pad(x, (0, 14, 0, 19), mode=theirs))
        assert ours.is_contiguous()
        assert torch.equal(crop(ours, 45, 50), x)
    with pytest.raises(ValueError, match=r"no mode 'mirror' of padding: there is edge, reflect"):
        pad(x, 32, "mirror")


def test_mirrored_more_than_once():
    image = np.arange(3, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    assert pad(image, 8, "reflect")[:, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


@pytest.mark.parametrize("strings", [(b"y",), (b"", b"z"), (b"y" * 300, b"", b"z"), (b"", b"")])
def test_strings_come_back(strings):
    for height, width in ((1, 1), (512, 768), (1, 1 << 27)):
        assert unframe(frame(height, width, *strings), len(strings)) == (
            height,
            width,
            list(strings),
        )


def test_what_a_frame_costs():
    assert len(frame(512, 768, b"y" * 100)) == 100 + 7
    assert len(frame(512, 768, b"y" * 100, b"z" * 200)) == 300 + 7 + 1


def test_frames_that_are_none():
    data = frame(40, 50, b"first", b"second")
    for i in range(len(data)):
        damaged = bytearray(data)
        damaged[i] ^= 16
        for bad in (bytes(damaged), data[:i]):
            with pytest.raises(BitstreamError):
                unframe(bad, 2)
    with pytest.raises(BitstreamError, match="promises"):
        unframe(frame(1 << 14, 1 << 14, b"x"))
    with pytest.raises(BitstreamError, match="longer than what is there"):
        unframe(framing.pack(framing.OWN, 40, 50, b"\x7fabc"), 2)
    with pytest.raises(BitstreamError, match="format byte"):
        unframe(framing.pack(framing.VVC, 40, 50, b"abc"))
    for nothing in ((), (b"",)):
        with pytest.raises(EncodeError, match="no string"):
            frame(40, 50, *nothing)
