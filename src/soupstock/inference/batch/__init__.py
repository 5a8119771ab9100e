"""Asks models by batch APIs."""
