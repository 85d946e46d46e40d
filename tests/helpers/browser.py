"""Pages in a real browser, without a net."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Opens(Protocol):
    def __call__(
        self, page: Path, shows: str = "body", *, width: int = 1300, dark: bool = False
    ) -> AbstractContextManager[Page]: ...


@pytest.fixture(scope="module")
def opened() -> Iterator[Opens]:
    """Open pages, and wait for what they have to show; a word on the console or a request fails the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        @contextmanager
        def opening(page: Path, shows: str = "body", *, width: int = 1300, dark: bool = False) -> Iterator[Page]:
            said: list[str] = []
            tab = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
            ).new_page()
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("dialog", lambda dialog: said.append(dialog.message))
            tab.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
            tab.goto(page.as_uri())
            tab.wait_for_selector(shows)
            yield tab
            tab.context.close()
            assert not said, said

        yield opening
        browser.close()
