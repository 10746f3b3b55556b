"""Solvers: a Program in, a BackendResult out. `get(name)` gives a backend, `installed()` lists them."""

from nnspec.backends.interface import Availability, Backend, BackendProgress, BackendResult, Takes
from nnspec.backends.registry import get, installed

__all__ = ["Availability", "Backend", "BackendProgress", "BackendResult", "Takes", "get", "installed"]
