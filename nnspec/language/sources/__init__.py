"""Data sources: files and literal tables to numeric samples, with the user's names in every message."""

from nnspec.language.sources.errors import DataError
from nnspec.language.sources.files import FileReader
from nnspec.language.sources.samples import Samples

__all__ = ["DataError", "FileReader", "Samples"]
