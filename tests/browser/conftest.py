"""A real browser for the report: Debian's Chromium, offline, from file://."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.verdict.comparison import Comparison
from tests.reports_gallery import written_with_pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

# `make test-browser` installs what these tests need; `make test` goes without.
collect_ignore_glob = [] if importlib.util.find_spec("playwright") else ["test_*.py"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.skip("no Chromium here: make test-browser installs it")
    with sync_playwright() as playwright:
        # Without a sandbox where we are root, as in a container: it opens our own files only.
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> tuple[Path, Comparison]:
    """A report with pictures, and what it shows."""
    return written_with_pictures(tmp_path_factory.mktemp("report"))


@dataclass
class Visit:
    """A page, and all that it did besides showing itself."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Messages on the console, errors, dialogs."""


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    """`visit(path, fragment, **context)` opens a file in a context of its own, offline.

    Whatever a test does, the page asks nobody and complains of nothing.
    """
    visits: list[Visit] = []

    def open_page(path: Path, fragment: str = "", *, quiet: bool = True, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 900}, "offline": True} | options
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        page = context.new_page()
        one = Visit(page)
        page.on("request", lambda request: one.requests.append(request.url))
        page.on("console", lambda message: one.complaints.append(message.text))
        page.on("pageerror", lambda error: one.complaints.append(str(error)))

        def refuse(dialog: Dialog) -> None:
            one.complaints.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", refuse)
        if quiet:
            visits.append(one)
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for one in visits:
        outside = [u for u in one.requests if not u.startswith(("file:", "data:"))]
        one.page.context.close()
        assert not outside, outside
        assert not one.complaints, one.complaints
