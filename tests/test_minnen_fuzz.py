"""Damaged streams of the Minnen codec."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codecs.base import Image
from tests.learned_fuzz import check_decoder
from tests.learned_toys import minnen_model


def test_damaged_streams_are_refused(tmp_path: Path, photo: Image) -> None:
    model = minnen_model(tmp_path)
    grey = np.full((70, 130, 3), 128, np.uint8)
    streams = [model.compress(image) for image in (photo, photo[:64, :64], grey, photo[:1, :1])]
    check_decoder(model.decompress, streams)
