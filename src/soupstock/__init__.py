"""Declare a fine-tuning dataset, and get one that can be trusted."""

__version__ = "0.1.0"
