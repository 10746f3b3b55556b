"""From an Outcome to files that prove themselves: writing, recomputing from the files, and the record."""

from nnspec.solution.solution import Solution, TrainedNetwork

__all__ = ["Solution", "TrainedNetwork"]
