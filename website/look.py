"""Looks at the built site in a headless Chromium, at the width of a desktop and of a phone, light and dark.

``python website/look.py FOLDER [PAGE ...]`` leaves screenshots of pages in a folder, for somebody to look at.
tests/site measures some: those with pictures, and those with the widest tables.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SITE = Path(__file__).parent.parent / "site"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = {"light": 1, "dark": 0}
"""As Chromium numbers what a user prefers."""
_LOADED = 25_000
"""Milliseconds of the browser's own time, which passes as fast as it can."""
_FRAME = (
    "<!doctype html><meta charset=utf-8><body style='margin:0'>"
    "<iframe id=frame style='border:0;width:{width}px;height:{height}px'{src}></iframe>"
)
_MEASURE = """<pre id=found></pre><script>
const frame = document.getElementById("frame"), found = {};
const load = page => new Promise(done => { frame.onload = () => setTimeout(done, 60); frame.src = "/" + page; });
(async () => {
  for (const page of PAGES) {
    await load(page);
    const d = frame.contentDocument, root = d.scrollingElement, main = d.querySelector(".md-content");
    found[page] = {
      sideways: root.scrollWidth - root.clientWidth,
      scheme: d.body.getAttribute("data-md-color-scheme"),
      broken: [...d.images].filter(it => it.complete && !it.naturalWidth).map(it => it.src),
      clipped: [...main.querySelectorAll("img")].map(it => [it.src, it.getBoundingClientRect().right])
        .filter(it => it[1] > WIDTH),
    };
  }
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""


class _Handler(SimpleHTTPRequestHandler):
    """Serves the site, and the frame that pages are loaded into."""

    frames: dict[str, str]

    def do_GET(self) -> None:
        """Answer with a frame, or with a file of the site."""
        text = self.frames.get(self.path)
        if text is None:
            super().do_GET()
            return
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _served(site: Path, frame: str) -> Iterator[str]:
    """Serve a site on this machine alone; the address of the frame."""
    handler = type("Handler", (_Handler,), {"frames": {"/__frame.html": frame}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/__frame.html"
    finally:
        server.shutdown()
        server.server_close()


def _chromium(scheme: str, *options: str) -> str:
    if CHROMIUM is None:
        raise SystemExit("no Chromium was found: apt install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--hide-scrollbars", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout  # noqa: S603 - its own words


def measure(site: Path, pages: Sequence[str], width: int, scheme: str) -> dict[str, dict[str, Any]]:
    """What is wrong with pages of a site: how far they scroll sideways, their colours, broken and clipped pictures."""
    program = _MEASURE.replace("PAGES", json.dumps(list(pages))).replace("WIDTH", str(width))
    with _served(site, _FRAME.format(width=width, height=900, src="") + program) as address:
        dom = _chromium(scheme, f"--virtual-time-budget={_LOADED * 2}", "--dump-dom", address)
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, flags=re.DOTALL)
    if found is None:
        raise RuntimeError(f"the pages were not measured: {dom[-2000:]}")
    measured: dict[str, dict[str, Any]] = json.loads(html.unescape(found[1]))
    return measured


def shoot(site: Path, page: str, width: int, scheme: str, target: Path) -> None:
    """Leave a screenshot of the beginning of a page."""
    height = 1800
    with _served(site, _FRAME.format(width=width, height=height, src=f" src='/{page}'")) as address:
        size = f"--window-size={max(width, 500)},{height}"
        _chromium(scheme, size, f"--virtual-time-budget={_LOADED}", f"--screenshot={target}", address)


def main(folder: str, *pages: str) -> None:
    """Leave screenshots of pages in a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for page in pages or ("index.html",):
        for name, width in WIDTHS.items():
            for scheme in SCHEMES:
                target = Path(folder).resolve() / f"{page.removesuffix('.html').replace('/', '-')}-{name}-{scheme}.png"
                shoot(SITE, page, width, scheme, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
