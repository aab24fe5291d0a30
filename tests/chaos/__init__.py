"""Faults on purpose: everything may die at any moment, and every accepted job still ends."""
