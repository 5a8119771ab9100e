"""Decides whether an answer is good, and whether the judge can tell. Asks no model itself."""
