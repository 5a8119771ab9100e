"""Explains a run from what it left: a row's life, the report, the card. Knows no engine."""
