"""The memory rules, one file per kind."""
