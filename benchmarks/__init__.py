"""Measurements beside what a user would run instead; each is one command, see the Makefile."""
