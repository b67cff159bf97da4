"""The README's pictures: `python -m tests.browser.screenshots REPORT FOLDER`."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH = 1180
VIEWS = {
    # name: (fragment, what is shown, colour scheme, height in pixels)
    "report": ("", "header.top", "light", 1010),
    "curves": ("#metric=ms-ssim&rate=log", "section:has(#curves)", "light", 1180),
    "images": ("#metric=lpips-alex&sort=avif", "section:has(#wins)", "light", 760),
    "look": ("#image=kodim23.png&at=0.15&a=jpeg&zoom=2&x=420&y=190", "#viewer", "light", 1010),
    "difference": ("#image=kodim23.png&at=0.15&a=avif&mode=difference", "#viewer", "dark", 760),
}


def main(report: Path, folder: Path) -> None:
    """Write `folder/<view>.png` for each view."""
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        for name, (fragment, selector, scheme, height) in VIEWS.items():
            context = browser.new_context(
                viewport={"width": WIDTH, "height": height},
                offline=True,
                color_scheme="dark" if scheme == "dark" else "light",
                device_scale_factor=1.5,
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(report.resolve().as_uri() + fragment)
            save(page, selector, folder / f"{name}.png")
            context.close()
        browser.close()


def save(page: Page, selector: str, path: Path) -> None:
    """What stands from the first element on to the bottom of the window.

    Photographs are kept to 256 colours, or the files would be large.
    """
    page.wait_for_timeout(500)
    if selector != "header.top":
        page.locator("#controls").evaluate("e => { e.style.position = 'static'; }")
    top = page.locator(selector).first.evaluate(
        "e => { const y = e.getBoundingClientRect().top + scrollY; scrollTo(0, y); return y; }"
    )
    assert top >= 0
    page.wait_for_timeout(700)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if selector == "#viewer":
        picture = picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
