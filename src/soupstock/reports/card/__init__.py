"""The dataset card, for the Hub."""
