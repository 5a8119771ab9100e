"""Measures one text: length, repetition, personal data, tokens. Knows no rows."""
