"""Reading CSV, .npz and Parquet: against the csv module and numpy, and everything that can be wrong with a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnspec.language.sources import DataError, FileReader
from nnspec.language.sources.build import Target, from_file
from nnspec.language.sources.csvfile import read_csv
from nnspec.language.sources.samples import Samples
from nnspec.language.sources.tables import class_numbers, numbers

finite = st.floats(allow_nan=False, allow_infinity=False)
cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=8)
names = st.lists(
    st.text("abcdef gh", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=4, unique=True
)


def read(content: bytes, x: list[str], y: str = "y", kind: str = "csv", label: bool = False) -> Samples:
    return from_file(kind, content, "d", x, Target((y,), label), "none", "none")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_numbers_come_back_exactly(
    rows: list[tuple[float, ...]], separator: str, end: str, bom: bool, quote: bool
) -> None:
    out = io.StringIO()
    writer = csv.writer(
        out, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    )
    writer.writerow(["a", "b", "y"])
    writer.writerows([[repr(v) for v in row] for row in rows])
    content = (b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode()
    samples = read(content, ["b", "a"])
    expected = np.array(rows)
    np.testing.assert_array_equal(samples.x, expected[:, [1, 0]])
    np.testing.assert_array_equal(samples.y, expected[:, 2:])
    assert samples.x_names == ("b", "a")
    assert samples.rows == tuple(range(1, len(rows) + 1))


@settings(max_examples=100, deadline=None)
@given(names, st.lists(st.lists(cells, min_size=4, max_size=4), min_size=1, max_size=8))
def test_text_cells_come_back_as_the_csv_module_reads_them(header: list[str], rows: list[list[str]]) -> None:
    rows = [[c.lstrip() for c in row[: len(header)]] for row in rows]
    rows = [row if len(header) > 1 or row[0].strip() else ["x"] for row in rows]
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([header, *rows])
    table = read_csv(out.getvalue().encode(), "d")
    assert table.columns == tuple(header)
    for k, name in enumerate(header):
        assert table.column(name) == [row[k] for row in rows]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(str.encode), st.text('a,;"\n1.é', max_size=40).map(str.encode)
    )
)
@example(b'""')
@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_any_bytes_are_read_or_refused(kind: str, content: bytes) -> None:
    try:
        samples = read(content, ["a"], "1", kind)
    except DataError as refused:
        refusal = (refused.message != "", refused.code[:5])
    else:
        refusal = (True, "NNS06")
        assert np.all(np.isfinite(samples.x))
    assert refusal == (True, "NNS06")


def error(
    content: bytes | str, x: list[str] | None = None, y: str = "y", label: bool = False, kind: str = "csv"
) -> DataError:
    with pytest.raises(DataError) as caught:
        read(content.encode() if isinstance(content, str) else content, x or ["a"], y, kind, label)
    return caught.value


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("", "empty cell"),
        ("  ", "empty cell"),
        ("nan", "NaN"),
        ("inf", "infinite"),
        ("-1e999", "infinite"),
        ("red", '"red" is not a number'),
        ("1_000", '"1_000" is not a number'),
        ("0x10", "is not a number"),
        ("1 2", "is not a number"),
    ],
)
def test_a_bad_cell_is_named_with_file_column_row_and_line(cell: str, words: str) -> None:
    found = error(f"a,y\n1,2\n\n{cell},4\n")
    assert found.code == "NNS064"
    assert found.about == "a"
    assert words in found.message
    for part in ("d", '"a"', "row 2", "line 4"):
        assert part in found.message


def test_quoted_line_breaks_do_not_shift_the_line_numbers() -> None:
    found = error('a,y,note\n1,2,"two\nlines"\nx,4,\n')
    assert "row 2 (line 4)" in found.message


def test_ragged_rows_and_double_headers() -> None:
    assert "row 2 (line 3) has 1 cell, but the header has 2" in error("a,y\n1,2\n3\n").message
    assert "has 3 cells" in error("a,y\n1,2\n3,4,5\n").message
    assert error("a,y,a\n1,2,3\n").code == "NNS067"
    # a column that is not used may be there twice
    assert read(b"a,y,b,b\n1,2,3,4\n", ["a"]).x.tolist() == [[1.0]]


def test_unclosed_quotation_mark_and_huge_cell() -> None:
    assert error('a,y\n1,2\n"3,4\n5,6\n').code == "NNS062"
    assert error("a,y\n" + "9" * 50_000 + ",1\n").code == "NNS062"


def test_missing_column_suggests_the_closest_or_a_missing_header() -> None:
    assert "did you mean area?" in (error("area,y\n1,2\n", ["Aera"]).help or "")
    assert "first line must hold the column names" in (error("1,2\n3,4\n").help or "")


def test_classes_are_numbered_in_alphabetical_or_numerical_order() -> None:
    samples = read(b"a,y\n1,red\n2,blue\n3,red\n", ["a"], label=True)
    assert (samples.classes, samples.y.ravel().tolist()) == (("blue", "red"), [1.0, 0.0, 1.0])
    assert read(b"a,y\n1,10\n2,9\n3,9.0\n", ["a"], label=True).classes == ("9", "9.0", "10")
    assert "empty cell" in error("a,y\n1,red\n2, \n", label=True).message


def test_given_classes_fix_the_numbers_and_unknown_ones_are_refused() -> None:
    table = read_csv(b"a,y\n1,red\n2,blue\n", "d")
    assert class_numbers(table, "y", ("red", "blue"))[0].tolist() == [0.0, 1.0]
    with pytest.raises(DataError, match=r'unknown class "blue".*row 2') as caught:
        class_numbers(table, "y", ("red", "blues"))
    assert "did you mean blues?" in (caught.value.help or "")


def test_a_large_file_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(20_000, 4))
    np.savetxt(tmp_path / "d.csv", matrix, delimiter=",", header="a,b,c,y", comments="", fmt="%.17g")
    samples = read((tmp_path / "d.csv").read_bytes(), ["a", "b", "c"])
    np.testing.assert_array_equal(samples.x, matrix[:, :3])


# --- npz and parquet -------------------------------------------------------------------------------------------------


def npz(**arrays: object) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def test_npz_arrays_of_one_and_two_dimensions() -> None:
    x = np.arange(6).reshape(3, 2)
    content = npz(X=x, extra=np.array([True, False, True]), y=np.array([1, 2, 3], dtype=np.int8))
    samples = read(content, ["X", "extra"], kind="npz")
    np.testing.assert_array_equal(samples.x, np.hstack([x, [[1], [0], [1]]]))
    assert samples.x_names == ("X[0]", "X[1]", "extra")


def test_npz_images_become_rows() -> None:
    images = np.arange(24).reshape(2, 3, 4)
    samples = read(npz(a=images, y=np.zeros(2)), ["a"], kind="npz")
    np.testing.assert_array_equal(samples.x, images.reshape(2, 12))
    assert len(samples.x_names) == 12


def test_npz_refuses_what_is_no_number() -> None:
    y = np.zeros(2)
    assert "Python objects" in error(npz(a=np.array([{}, 1], dtype=object), y=y), kind="npz").message
    assert "NaN" in error(npz(a=np.array([1.0, np.nan]), y=y), kind="npz").message
    assert "does not hold numbers" in error(npz(a=np.array([1j, 2]), y=y), kind="npz").message
    assert "dimensions" in error(npz(a=np.zeros((2, 2, 2, 2)), y=y), kind="npz").message
    assert "3 rows of inputs, but 2 targets" in error(npz(a=np.zeros(3), y=y), kind="npz").message
    assert error(npz(b=np.zeros(3), y=y), kind="npz").code == "NNS063"
    assert error(npz(a=np.zeros((0, 2)), y=np.zeros(0)), kind="npz").code == "NNS065"
    out = io.BytesIO()
    np.save(out, y)
    assert "single array" in error(out.getvalue(), kind="npz").message


def test_npz_classes_from_text_and_numbers() -> None:
    assert read(npz(a=np.zeros(3), y=np.array(["b", "a", "b"])), ["a"], kind="npz", label=True).classes == ("a", "b")
    assert read(npz(a=np.zeros(3), y=np.array([2.0, 0.0, 2.0])), ["a"], kind="npz", label=True).classes == ("0", "2")


def test_a_truncated_npz_is_refused() -> None:
    content = npz(a=np.arange(1000.0), y=np.arange(1000.0))
    for length in (4, 100, len(content) // 2, len(content) - 3):
        assert error(content[:length], kind="npz").code == "NNS062"


def test_parquet_columns() -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def parquet(**columns: object) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.table(columns), out)
        return out.getvalue()

    content = parquet(a=[1, 2, 3], b=[0.5, 1.5, 2.5], y=pa.array(["u", "v", "u"]).dictionary_encode())
    samples = read(content, ["b", "a"], kind="parquet", label=True)
    assert samples.x.tolist() == [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]]
    assert (samples.classes, samples.y.ravel().tolist()) == (("u", "v"), [0.0, 1.0, 0.0])
    assert "row 2" in error(parquet(a=[1, None], y=[1, 2]), kind="parquet").message
    assert error(parquet(a=["x", "y"], y=[1, 2]), kind="parquet").code == "NNS064"
    assert error(parquet(a=pa.array([], pa.float64()), y=pa.array([], pa.float64())), kind="parquet").code == "NNS065"
    assert error(content[:-9], kind="parquet").code == "NNS062"


# --- where files may lie ---------------------------------------------------------------------------------------------


def test_files_outside_the_folder_of_the_spec_are_out_of_reach(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("a,y\n1,2\n")
    (home / "d.csv").write_text("a,y\n1,2\n")
    (home / "link.csv").symlink_to(tmp_path / "secret.csv")
    (home / "near.csv").symlink_to(home / "d.csv")
    reader = FileReader(home)
    assert reader.read("d.csv", home)[1] == b"a,y\n1,2\n"
    assert reader.read("near.csv", home)[1] == reader.read("../d.csv", home / "sub")[1]
    for name in ("../secret.csv", "link.csv", str(tmp_path / "secret.csv"), "sub/../../secret.csv", "/dev/zero"):
        with pytest.raises(DataError, match="outside"):
            reader.read(name, home)
    assert list(reader.hashes) == ["d.csv"]


def test_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    import os

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "house.csv").write_text("a\n1\n")
    reader = FileReader(tmp_path)
    for name, words in {
        "folder": "folder", "pipe": "not a regular file", "hause.csv": "no file", "": "no file name",
        "a\0b": "no file name",
        "loop": "loop", "x" * 5000: "file",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=words):
            reader.read(name, tmp_path)
    with pytest.raises(DataError) as caught:
        reader.read("hause.csv", tmp_path)
    assert caught.value.help == "did you mean house.csv?"


def test_numbers_are_checked_in_every_column_that_is_used() -> None:
    table = read_csv(b"a,y,note\n1,2,hello\n", "d")
    assert numbers(table, "a").tolist() == [1.0]
    with pytest.raises(DataError, match="hello"):
        numbers(table, "note")
