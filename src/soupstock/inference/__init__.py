"""Asks models; every call goes through the cache. Knows no rows and no steps."""
