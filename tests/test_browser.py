"""The browser of the tests is what the other tests take it for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.fixtures import Browser, require_browser


def test_what_a_page_asks_for_and_what_goes_wrong_is_seen(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<img src='missing.png'><script>console.error('oh no')</script>")
    browser.open(page)
    names = [url.rpartition("/")[2] for url in browser.requested_urls()]
    assert names == ["page.html", "missing.png"]
    assert any("oh no" in line for line in browser.said())


def test_a_missing_browser_is_a_reason_to_skip_unless_it_was_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("SLURM_TESTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="No browser: chromium and chromedriver"):
        require_browser()
    monkeypatch.setenv("SLURM_TESTS", "required")
    with pytest.raises(pytest.fail.Exception, match=r"see tests/browser/install\.sh"):
        require_browser()
