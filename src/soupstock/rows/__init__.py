"""Tables of rows, and where rows come from: sources, documents, references, splits.

Asks no model.
"""
