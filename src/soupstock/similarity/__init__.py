"""Compares texts: near-duplicates, clusters, coresets, contamination.

Knows no rows, models or files.
"""
