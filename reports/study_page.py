"""The page that asks people: one file to mail, that works offline and sends nothing anywhere.

Pictures in it have random names and no metadata; what is behind a name stands in the study's key.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image as Pillow

from bench.study.design import ORIGINAL, SPOILT, Box, Study, shrunk
from codecs.base import Image
from reports import payload, script
from reports.crops import lossless
from reports.page import environment

BUDGET = 20_000_000
"""Bytes of all pictures in base64: attachments of 25 MB pass most mail servers."""
SMALLEST = 128
"""Pixels of the longer side of a part, below which nobody can judge."""
CELL = 12
"""Pixels of a side of the squares that a spoilt picture consists of."""


class TooLarge(Exception):
    """So many pictures do not fit into one page; the message says what to do."""


def page(
    study: Study, originals: Sequence[Image], decoded: Mapping[str, Image], budget: int = BUDGET
) -> tuple[Study, str]:
    """The page, and the study with the parts of pictures that fit into `budget` bytes.

    `originals` in the order of the study's pictures, `decoded` by name of item: the parts that it
    asks for (`cut`), uint8[h, w, 3].  Raises `TooLarge`.
    """
    fitting = study
    while True:
        boxes = [
            (now.box[0] - first.box[0], now.box[1] - first.box[1], *now.box[2:])
            for now, first in zip(fitting.pictures, study.pictures, strict=True)
        ]
        parts = [cut(image, box) for image, box in zip(originals, boxes, strict=True)]
        files = {}
        for name, item in study.items.items():
            if item.codec == ORIGINAL:
                files[name] = ""  # the page has it
            elif item.codec == SPOILT:
                files[name] = _uri(spoilt(parts[item.picture], study.seed))
            else:
                files[name] = _uri(cut(decoded[name], boxes[item.picture]))
        whole = [_uri(part) for part in parts]
        size = sum(map(len, (*whole, *files.values())))
        if size <= budget:
            return fitting, _render(fitting, whole, files)
        fitting = shrunk(fitting, min(0.95, math.sqrt(budget / size)))
        if max(max(p.box[2:]) for p in fitting.pictures) < SMALLEST:
            raise TooLarge(
                f"{len(study.pictures)} pictures of {len(study.codecs)} codecs do not fit into "
                f"{budget / 1e6:.0f} MB: ask for fewer --pictures or --codecs"
            )


def cut(image: Image, box: Box) -> Image:
    """A part of a picture, as an array of its own."""
    left, top, width, height = box
    return image[top : top + height, left : left + width].copy()


def spoilt(image: Image, seed: int) -> Image:
    """The picture in squares of wrong brightness: nobody who looks takes it for the original."""
    height, width, _ = image.shape
    rows, columns = (-(-side // CELL) for side in (height, width))
    small = Pillow.fromarray(image).resize((columns, rows), Pillow.Resampling.BOX)
    noise = np.random.default_rng(seed).choice([-48, 48], (rows, columns, 1))
    wrong = np.clip(np.asarray(small, np.int16) + noise, 0, 255).astype(np.uint8)
    return wrong.repeat(CELL, axis=0).repeat(CELL, axis=1)[:height, :width]


def _uri(image: Image) -> str:
    data = lossless(image)
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _render(study: Study, originals: Sequence[str], files: Mapping[str, str]) -> str:
    style = (Path(script.__file__).parent / "static/study/style.css").read_text(encoding="utf-8")
    code = script.script(script.STUDY_FILES)
    document: dict[str, Any] = {
        "study": study.id,
        "trials": study.trials,
        "pictures": [
            {"original": file, "width": picture.box[2], "height": picture.box[3]}
            for file, picture in zip(originals, study.pictures, strict=True)
        ],
        "items": {
            name: {"picture": item.picture, "file": files[name]}
            for name, item in study.items.items()
        },
        "blocks": study.blocks,
        "checks": study.checks,
    }
    return (
        environment()
        .get_template("study.html")
        .render(
            policy=script.policy(style, code, "data:"),
            style=Markup(style),
            script=Markup(code),
            data=Markup(payload.as_script_text(document)),
        )
    )
