"""A pipeline taken from plan to dataset: run, estimate, prune, replay, calibrate."""
