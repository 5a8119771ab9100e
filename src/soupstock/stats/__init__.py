"""Figures with their intervals. Knows numbers alone."""
