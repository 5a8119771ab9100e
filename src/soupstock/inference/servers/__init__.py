"""What a model's name stands for, and servers started and stopped. Knows no calls."""
