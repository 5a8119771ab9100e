"""Lets people read a sample of the rows, and applies their answers. Asks no model."""
