"""The card of a dataset, for the Hub."""
