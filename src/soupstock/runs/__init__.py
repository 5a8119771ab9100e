"""Takes a pipeline from plan to dataset: runs, estimates, prunes, replays and calibrates.

Writes the run folder.
"""
