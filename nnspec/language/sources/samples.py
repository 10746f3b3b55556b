"""Samples before scaling: what a source gives, how it is split, and how it becomes a DataSet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnspec.errors import Span
from nnspec.language.sources.errors import DataError
from nnspec.language.sources.scaling import fit
from nnspec.problem.data import DataSet
from nnspec.problem.network import Scaling


@dataclass(frozen=True, eq=False)
class Samples:
    """Raw inputs `x` (N, d) and targets `y` (N, m), and how they are to be scaled.

    `scalings` are set once the samples are part of a split: all its parts take those of the training part.
    """

    x: np.ndarray
    y: np.ndarray
    x_names: tuple[str, ...] = ()
    y_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    scale: str = "none"
    scale_y: str = "none"
    scalings: tuple[Scaling | None, Scaling | None] | None = None
    constant: tuple[str, ...] = ()  # columns that the scaling found constant

    def fitted(self) -> Samples:
        """The same samples with their scalings fitted, unless they are already."""
        if self.scalings is not None:
            return self
        x_scaling, x_constant = fit(self.scale, self.x)
        y_scaling, y_constant = fit(self.scale_y, self.y)
        names = [self.x_names[i] if self.x_names else f"x[{i}]" for i in x_constant]
        names += [self.y_names[i] if self.y_names else "y" for i in y_constant]
        return replace(self, scalings=(x_scaling, y_scaling), constant=tuple(names))

    def data_set(self, name: str, span: Span | None = None) -> DataSet:
        """The scaled data set."""
        samples = self.fitted()
        assert samples.scalings is not None
        x_scaling, y_scaling = samples.scalings
        with np.errstate(over="ignore", invalid="ignore"):
            x = samples.x if x_scaling is None else x_scaling.apply(samples.x)
            y = samples.y if y_scaling is None else y_scaling.apply(samples.y)
        if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
            raise DataError(
                "NNS069", "the columns' values are too far apart to be scaled", "remove the outliers", "scale"
            )
        return DataSet(
            name, x, y, self.x_names, self.y_names, self.classes, x_scaling, y_scaling, None, self.rows, span
        )

    def take(self, index: np.ndarray) -> Samples:
        rows = tuple(self.rows[i] for i in index) if self.rows else tuple(int(i) + 1 for i in index)
        return replace(self, x=self.x[index], y=self.y[index], rows=rows)

    def split(self, fraction: float, seed: int) -> tuple[Samples, Samples]:
        """Two parts: `fraction` of the samples (rounded) and the rest, each in the order of the file.

        Sample i belongs to the first part if the i-th 64-bit word of PCG64(seed) is among the smallest; ties go to the
        earlier sample. numpy guarantees the words of its bit generators, but not how it shuffles.
        A split of a split keeps the scalings of the first one, so that all parts share their units.
        """
        n = len(self.x)
        first = int(np.floor(fraction * n + 0.5))
        if not 0 < first < n:
            raise DataError(
                "NNS070",
                f"the split puts {first} of {n} samples in the first part and {n - first} in the second",
                "each part needs at least one sample",
                "fraction",
            )
        order = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
        training = self.take(np.sort(order[:first])).fitted()
        rest = self.take(np.sort(order[first:]))
        return training, replace(rest, scalings=training.scalings)
