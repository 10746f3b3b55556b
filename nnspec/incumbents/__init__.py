"""Local training that gives first solutions."""

from nnspec.incumbents.search import local_search

__all__ = ["local_search"]
