"""Finds the server behind a model's name, and starts and stops servers. Knows no calls."""
