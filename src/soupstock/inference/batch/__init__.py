"""Asks models through batch APIs."""
