"""What is told of a run, made from what it left. Knows no engine."""
