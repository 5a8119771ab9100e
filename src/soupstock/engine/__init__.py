"""Takes rows through the steps: plan, row-wise and set-wise steps, workers.

Knows no terminal and no manifest.
"""
