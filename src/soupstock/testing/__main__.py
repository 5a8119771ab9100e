"""Run a test server as a process of its own: `python -m soupstock.testing`."""

from soupstock.testing.server import main

main()
