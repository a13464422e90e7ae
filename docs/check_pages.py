"""Open every built page in headless Chromium: `make docs-check`.

On a screen (1280 px) and on a phone (390 px), in light and dark: no error in the console, no horizontal
scroll, every picture loads, with a text for those who do not see it; every link between the pages leads
to a page and a place that exist; the version switcher is hidden until it is told of versions. Needs
`playwright` (extra `dev`) and Chromium, which is the Debian package `chromium` or what CHROMIUM names.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from playwright.sync_api import Page, sync_playwright

SIZES = {"screen": (1280, 900), "phone": (390, 844)}
# 404.html has absolute addresses, for it is shown at any depth of the published site.
PUBLISHED = "/en/latest/"
SKIPPED = (
    "_modules/",
    "_sources/",
    "_static/",
    "genindex",
    "py-modindex",
    "search.html",
)

LOOK = """() => ({
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  widest: [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(
      'pre, .table-wrapper, div.math, .sphx-glr-animation, .highlight'))
    .slice(0, 3).map(e => e.tagName + '.' + e.className),
  broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src),
  silent: [...document.querySelectorAll('article img')].filter(i => !i.hasAttribute('alt'))
    .map(i => i.src.slice(0, 100)),
  links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  ids: [...document.querySelectorAll('[id], a[name]')].map(e => e.id || e.name),
})"""


# What Read the Docs hands its pages, as far as the switcher reads it.
VERSIONS = """{"versions": {"current": {"slug": "latest"}, "active": [
  {"slug": "latest", "urls": {"documentation": "https://lwm-loss.readthedocs.io/en/latest/"}},
  {"slug": "v0.1.0", "urls": {"documentation": "https://lwm-loss.readthedocs.io/en/v0.1.0/"}}]}}"""
SWITCH = """data => {
  const box = document.querySelector('.versions');
  const before = box.hidden;
  document.dispatchEvent(new CustomEvent('readthedocs-addons-data-ready',
    {detail: {data: () => data}}));
  const select = document.getElementById('version-select');
  return [before, box.hidden, select.value, [...select.options].map(o => o.text)];
}"""


class Silent(SimpleHTTPRequestHandler):
    """A server that prints no line for each request."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def translate_path(self, path: str) -> str:
        """Find a file, also by its address on the published site."""
        return super().translate_path(path.replace(PUBLISHED, "/", 1))

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file, to a browser that may have closed the page meanwhile."""
        with suppress(ConnectionError):
            super().copyfile(source, outputfile)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def look_at(page: Page, url: str, name: str, found: list[str], size: str) -> dict[str, list[str]]:
    """Open one page, and note what is wrong with it."""
    messages: list[str] = []

    def note(text: str) -> None:
        messages.append(text)

    page.on("console", lambda m: note(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: note(str(e)))
    page.goto(url, wait_until="load")
    page.evaluate(
        "() => { for (const i of document.images) i.loading = 'eager';"
        " return Promise.allSettled([...document.images].map(i => i.decode())) }"
    )
    facts: dict[str, list[str]] = page.evaluate(LOOK)
    found += [f"{name} ({size}): console: {text}" for text in messages]
    if facts["overflow"]:
        found.append(f"{name} ({size}): scrolls by {facts['overflow']} px: {facts['widest']}")
    found += [f"{name} ({size}): picture does not load: {src}" for src in facts["broken"]]
    found += [f"{name} ({size}): picture without a text: {src}" for src in facts["silent"]]
    return facts


def check_switcher(page: Page, url: str, found: list[str]) -> None:
    """See that the version switcher is hidden alone, and shows the versions that it is told of."""
    data = json.loads(VERSIONS)
    page.goto(url, wait_until="load")
    slugs = [version["slug"] for version in data["versions"]["active"]]
    expected = [True, False, data["versions"]["active"][0]["urls"]["documentation"], slugs]
    got = page.evaluate(SWITCH, data)
    if got != expected:
        found.append(f"version switcher: expected {expected}, but got {got}")


def main() -> None:
    """Check a folder of pages, and say what was found."""
    folder = Path(sys.argv[1]).resolve()
    browser_path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if browser_path is None:
        sys.exit("Expected Chromium to open the pages with, but found none: apt install chromium?")
    names = sorted(
        str(p.relative_to(folder))
        for p in folder.rglob("*.html")
        if not str(p.relative_to(folder)).startswith(SKIPPED)
    )
    names = sys.argv[2:] or names  # some pages alone, such as index.html
    found: list[str] = []
    links: dict[str, list[str]] = {}
    ids: dict[str, set[str]] = {}
    with serve(folder) as base, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for size, (width, height) in SIZES.items():
            scheme = "dark" if size == "phone" else "light"
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            context.set_default_timeout(300_000)  # of a machine that has more to do
            # The pages must be whole without a network.
            context.route(
                "**/*", lambda r: r.continue_() if r.request.url.startswith(base) else r.abort()
            )
            page = context.new_page()
            check_switcher(page, urljoin(base, "index.html"), found)
            page.close()
            for name in names:
                page = context.new_page()
                facts = look_at(page, urljoin(base, name), name, found, size)
                page.close()
                links[name] = facts["links"]
                ids[name] = set(facts["ids"])
            context.close()
        browser.close()
        for name, targets in links.items():
            for target in targets:
                address, place = urldefrag(target)
                if not address.startswith(base):
                    continue
                file = unquote(address.removeprefix(base).split("?")[0])
                file = file.removeprefix(PUBLISHED[1:]) or "index.html"
                if not (folder / file).exists():
                    found.append(f"{name}: link leads nowhere: {file}")
                elif place and file in ids and unquote(place) not in ids[file]:
                    found.append(f"{name}: no place {place!r} in {file}")
    for line in dict.fromkeys(found):
        print(line)
    widths = ", ".join(str(width) for width, _ in SIZES.values())
    print(f"{len(names)} pages at {widths} px: {len(set(found))} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
