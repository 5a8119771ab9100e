"""Finds everything that has a name: first in the user's project, then in the standard one."""
