"""Works on a finished dataset: checks, publishes, compares, mixes and reproduces it.

Asks no model.
"""
