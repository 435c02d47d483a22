"""Debian's Chromium without a window, for tests that look at a page as people see it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
# A closed network must not be knocked at by the browser's own services.
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Set to a folder to keep the screenshots, as docs/images was made.
_SCREENSHOTS = os.environ.get("MLOPS_SCREENSHOTS")

MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"),
]


@contextmanager
def open_page(width: int = 1500, height: int = 900) -> Iterator[Page]:
    """A page of a browser of its own, `width` by `height` pixels; what it waits for may take a minute."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def keep(page: Page, name: str) -> None:
    """Keep a screenshot where MLOPS_SCREENSHOTS asks for it."""
    if _SCREENSHOTS:
        page.wait_for_timeout(1_500)
        page.screenshot(path=str(Path(_SCREENSHOTS) / f"{name}.png"))
