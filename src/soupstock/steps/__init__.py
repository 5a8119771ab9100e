"""One file for each verb. Steps import what they need, never each other."""
