"""Texts compared with each other. Knows no rows, models or files."""
