"""A finished dataset: released, checked, pushed, compared, mixed, reproduced. Asks no model."""
