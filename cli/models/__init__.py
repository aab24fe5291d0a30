"""`subtide models`: install what the engines need, from wherever it can be had."""

from cli.models.commands import app

__all__ = ["app"]
