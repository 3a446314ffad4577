"""How fast the explorer's pages open and move in headless Chromium, without a graphics card.

Opening is the time from the request of the file until the first picture stands (`data-ready`, the
page's own mark). Frames: the map is dragged round for some seconds, whole and zoomed in; what each
painting took is the page's own measure (`data-frame`), and the time from frame to frame that of
`requestAnimationFrame`. Other work on the machine counts in full, so its load is told, and what
opening took of the processor, in all of the browser's processes.

    python benchmarks/explore.py galaxies.html flowers.html made.html \\
        --out benchmarks/results/explore.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
RECORD = """() => { window.frames_ = []; window.paints_ = []; let last = performance.now();
  const map = document.getElementById('map'); let told = '';
  const step = (now) => { window.frames_.push(now - last); last = now;
    if (map.dataset.frame !== told) { told = map.dataset.frame; window.paints_.push(Number(told)); }
    requestAnimationFrame(step); }; requestAnimationFrame(step); }"""


def moved(page: Page, steps: int) -> dict[str, float]:
    """Drags the map round in circles."""
    box = page.locator("#map").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.evaluate("() => { window.frames_.length = 0; window.paints_.length = 0; }")
    for step in range(steps):
        angle = step / 12
        page.mouse.move(middle[0] + 90 * np.sin(angle), middle[1] + 60 * np.sin(2 * angle))
    frames = page.evaluate("() => window.frames_.slice(1)")
    paints = page.evaluate("() => window.paints_.slice(1)")
    page.mouse.up()
    return {
        "paints": len(paints),
        "paint ms, least": round(float(np.min(paints)), 1),
        "paint ms, median": round(float(np.median(paints)), 1),
        "paint ms, 95 %": round(float(np.percentile(paints, 95)), 1),
        "frame ms, median": round(float(np.median(frames)), 1),
        "frame ms, 95 %": round(float(np.percentile(frames, 95)), 1),
    }


def processor_seconds() -> float:
    """That all descendants of this process have taken so far (Linux)."""
    parents, taken = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            told = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(told[1])
            taken[int(path.parent.name)] = int(told[11]) + int(told[12])
    ours, found = {os.getpid()}, 0
    while len(ours) > found:
        found = len(ours)
        ours |= {one for one, parent in parents.items() if parent in ours}
    own = sum(taken[one] for one in ours if one != os.getpid())
    return own / os.sysconf("SC_CLK_TCK")


def measured(page: Page, path: Path, steps: int) -> dict[str, Any]:
    """One page, opened and moved."""
    before = processor_seconds()
    page.goto(path.resolve().as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
    ready = float(page.evaluate("document.documentElement.dataset.ready"))
    taken = processor_seconds() - before
    page.evaluate(RECORD)
    told = {
        "samples": page.evaluate("JSON.parse(document.getElementById('facts').textContent).count"),
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "opens in s": round(ready / 1000, 2),
        "processor s of opening": round(taken, 2),
        "whole": moved(page, steps),
    }
    for _ in range(4):
        page.locator("#closer").click()
    page.wait_for_timeout(8000)  # what is seen is cut from its sheets once
    told["zoomed, with pictures"] = moved(page, steps)
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        parser.error("there is no Chromium on this machine")
    results = {}
    with sync_playwright() as started:
        for path in asked.pages:
            # A browser of its own: what ended before would be missing from the sum of processes.
            browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
            version = browser.version
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            results[path.stem] = measured(page, path, asked.steps)
            print(path.stem, json.dumps(results[path.stem]))  # noqa: T201
            browser.close()
    told = {
        "command": shlex.join(["python", *(Path(word).name for word in sys.argv)]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load of the last minute": round(os.getloadavg()[0], 1),
        "chromium": version,
        "window": "1440 x 900",
        "pages": results,
    }
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
