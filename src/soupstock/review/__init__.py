"""People read a sample of the rows, and what they say comes back."""
