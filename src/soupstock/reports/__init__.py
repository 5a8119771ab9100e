"""Explains a run from what it left: a row's history, the report, the card. Knows no engine."""
