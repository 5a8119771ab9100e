"""The browser that tests open pages in."""

from pathlib import Path

CHROMIUM = Path("/usr/bin/chromium")


ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
