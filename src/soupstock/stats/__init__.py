"""Statistics with their intervals: shares, agreement, ranking, thresholds. Knows numbers alone."""
