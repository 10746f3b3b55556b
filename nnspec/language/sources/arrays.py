"""NumPy archives (.npz, never unpickled) and Parquet files."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from nnspec.language.sources.errors import DataError
from nnspec.language.sources.files import MAX_BYTES
from nnspec.language.sources.tables import Cells, Table, quoted


def read_npz(content: bytes, file: str) -> Table:
    """The arrays of an .npz archive: numbers, or text for classes; (N,), (N, d), or images (N, rows, columns)."""
    if content[:6] == b"\x93NUMPY":
        raise DataError(
            "NNS062", f"{file} holds a single array without a name", "write it with numpy.savez(...)", "file"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise DataError("NNS062", f"{file} is not an .npz archive", "write it with numpy.savez(...)", "file") from None

    def column(name: str) -> np.ndarray:
        if sizes[name] > MAX_BYTES:
            raise DataError("NNS062", f"{file}: array {quoted(name)} has {sizes[name] / 2**20:.0f} MB", about=name)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                array = archive[name]
        except ValueError as error:
            if "pickle" in str(error).lower():
                raise DataError(
                    "NNS062",
                    f"{file}: array {quoted(name)} holds Python objects, which are not read",
                    "save it as numbers or text: numpy.asarray(a, dtype=float)",
                    name,
                ) from None
            raise DataError("NNS062", f"{file}: array {quoted(name)} cannot be read", about=name) from None
        except Exception:  # a damaged archive raises what zlib, zipfile or numpy happen to meet first
            raise DataError("NNS062", f"{file}: array {quoted(name)} cannot be read", about=name) from None
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufUS":
            raise DataError("NNS064", f"{file}: array {quoted(name)} does not hold numbers", about=name)
        if array.ndim == 3:  # images (N, rows, columns): their order is clear, that of channels would not be
            return array.reshape(len(array), array.shape[1] * array.shape[2])
        if array.ndim not in (1, 2):
            raise DataError(
                "NNS066",
                f"{file}: array {quoted(name)} has {array.ndim} dimensions, not 1, 2 or 3",
                "one row for each sample, channels first in images: a.reshape(len(a), -1)",
                name,
            )
        return array

    return Table(file, tuple(sizes), (), column, lambda i: f"row {i + 1}", "array")


def read_parquet(content: bytes, file: str) -> Table:
    """The columns of a Parquet file, by pyarrow (`pip install nnspec[parquet]`)."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        fix = 'pip install "nnspec[parquet]"'
        raise DataError("NNS062", "reading Parquet files needs pyarrow", fix, "file") from None
    try:
        source = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        columns = tuple(source.schema_arrow.names)
        samples = source.metadata.num_rows
    except (pyarrow.ArrowException, OSError, ValueError):
        raise DataError("NNS062", f"{file} is not a Parquet file", about="file") from None
    if samples == 0:
        raise DataError("NNS065", f"{file} has no rows", about="file")

    def column(name: str) -> Cells:
        try:
            data = source.read(columns=[name]).column(name)
            kind = data.type.value_type if pyarrow.types.is_dictionary(data.type) else data.type
            if data.null_count:
                i = data.is_null().to_pylist().index(True)
                raise DataError(
                    "NNS064",
                    f"{file}: empty cell in column {quoted(name)}, row {i + 1}",
                    "drop the row or fill the value in",
                    name,
                )
            if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
                return [str(v) for v in data.to_pylist()]
            array = np.asarray(data.to_numpy())
        except (pyarrow.ArrowException, OSError, ValueError):
            raise DataError("NNS062", f"{file}: column {quoted(name)} cannot be read", about=name) from None
        if array.ndim != 1 or array.dtype.kind not in "biuf":
            raise DataError("NNS064", f"{file}: column {quoted(name)} does not hold numbers", about=name)
        return array

    return Table(file, columns, tuple(range(1, samples + 1)), column, lambda i: f"row {i + 1}")
