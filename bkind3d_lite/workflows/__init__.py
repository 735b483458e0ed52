"""Workflows: what the command line does, each a function with a folder at its end."""
