"""Rows through steps: plan, stream, set-wise steps, workers. Knows no terminal and no manifest."""
