"""Rows at rest, and where they come from: tables, sources, documents, splits. Asks no model."""
