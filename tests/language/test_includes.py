"""Reading files and includes: relative to the including file, once each, within the folder of the main spec."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnspec.errors import Diagnostic, SpecError
from nnspec.language import syntax as s
from nnspec.language.includes import MAX_BYTES, load_includes, read_source, text_source
from nnspec.language.parser import parse
from nnspec.language.render import render


def load(main: Path) -> tuple[list[str], list[Diagnostic]]:
    """The names that `let` defines, in order, and the errors."""
    spec, errors = parse(read_source(main))
    spec, more = load_includes(spec, main.parent)
    assert not any(isinstance(statement, s.Include) for statement in spec.statements)
    return [node.name.name for node in spec.statements if isinstance(node, s.Let)], errors + more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "project"
    (inside / "sub").mkdir(parents=True)
    return inside


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def codes(errors: list[Diagnostic]) -> list[str]:
    return [error.code for error in errors]


def test_statements_come_in_the_place_of_the_include(folder: Path) -> None:
    main = write(folder / "main.nns", 'let a = 1 include "sub/one.nns" let z = 1')
    write(folder / "sub/one.nns", 'let b = 1 include "two.nns" include "../three.nns" let e = 1')
    write(folder / "sub/two.nns", "let c = 1")
    write(folder / "three.nns", "let d = 1")
    assert load(main) == (["a", "b", "c", "d", "e", "z"], [])


def test_statements_know_their_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    write(folder / "main.nns", 'include "sub/one.nns"')
    write(folder / "sub/one.nns", "\nlet b = 1")
    spec, _ = load_includes(parse(read_source("project/main.nns"))[0], Path("project"))
    assert str(spec.statements[0].span) == f"{os.path.join('project', 'sub', 'one.nns')}:2:1"


def test_a_file_is_included_once(folder: Path) -> None:
    main = write(folder / "main.nns", 'include "a.nns" include "b.nns" include "./sub/../a.nns"')
    write(folder / "a.nns", 'include "b.nns" let a = 1')
    write(folder / "b.nns", "let b = 1")
    assert load(main) == (["b", "a"], [])


def test_a_spec_given_as_text_includes_from_the_root(folder: Path) -> None:
    write(folder / "a.nns", "let a = 1")
    spec, errors = parse(text_source('include "a.nns"'))
    spec, more = load_includes(spec, folder)
    assert errors + more == []
    assert len(spec.statements) == 1


@pytest.mark.parametrize("through", ["main.nns", "sub/../main.nns", "sub/one.nns"])
def test_circles_are_named(folder: Path, through: str) -> None:
    main = write(folder / "main.nns", 'let a = 1 include "sub/one.nns"')
    write(folder / "sub/one.nns", f'let b = 1 include "../{through}"')
    names, errors = load(main)
    assert names == ["a", "b"]
    assert codes(errors) == ["NNS012"]
    expected = ["one.nns", "one.nns"] if "one" in through else ["main.nns", "one.nns", "main.nns"]
    assert [Path(part).name for part in errors[0].message.split(": ", 1)[1].split(" -> ")] == expected


def test_a_file_that_includes_itself(folder: Path) -> None:
    main = write(folder / "main.nns", 'include "main.nns"')
    assert codes(load(main)[1]) == ["NNS012"]


def test_a_circle_through_a_symbolic_link(folder: Path) -> None:
    main = write(folder / "main.nns", 'include "link.nns"')
    (folder / "link.nns").symlink_to("main.nns")
    assert codes(load(main)[1]) == ["NNS012"]


def test_outside(folder: Path) -> None:
    secret = write(folder.parent / "secret.nns", "let secret = 1")
    (folder / "link.nns").symlink_to(secret)
    (folder / "way").symlink_to(folder.parent)
    outside = ["../secret.nns", str(secret), "link.nns", "way/secret.nns", "sub/../../secret.nns", "../missing.nns"]
    main = write(folder / "main.nns", "".join(f'include "{path}"\n' for path in outside))
    names, errors = load(main)
    assert names == []
    assert codes(errors) == ["NNS011"] * len(outside)
    assert "secret = 1" not in render(errors)


def test_links_within_the_folder_are_fine(folder: Path) -> None:
    write(folder / "sub/real.nns", "let a = 1")
    (folder / "link.nns").symlink_to("sub/real.nns")
    main = write(folder / "main.nns", 'include "link.nns" include "sub/real.nns"')
    assert load(main) == (["a"], [])


def test_a_link_that_leads_nowhere_or_to_itself(folder: Path) -> None:
    (folder / "loop.nns").symlink_to("loop.nns")
    (folder / "gone.nns").symlink_to("nothing.nns")
    main = write(folder / "main.nns", 'include "loop.nns" include "gone.nns"')
    assert codes(load(main)[1]) == ["NNS010", "NNS010"]


def test_files_that_cannot_be_read(folder: Path) -> None:
    (folder / "latin.nns").write_bytes(b"let gr\xf6\xdfe = 1")
    os.mkfifo(folder / "pipe.nns")
    bad = ["missing.nns", "sub", "", "pipe.nns", "a\x00b", "x" * 5000, "latin.nns"]
    main = write(folder / "main.nns", "".join(f'include "{path}"\n' for path in bad) + "let a = 1")
    names, errors = load(main)
    assert names == ["a"]
    assert codes(errors) == ["NNS010"] * (len(bad) - 1) + ["NNS001"]


def test_a_missing_file_with_a_similar_name(folder: Path) -> None:
    write(folder / "defaults.nns", "")
    main = write(folder / "main.nns", 'include "default.nns"')
    assert load(main)[1][0].help == "did you mean defaults.nns?"


def test_errors_of_all_files_are_reported(folder: Path) -> None:
    main = write(folder / "main.nns", 'include "a.nns" include "b.nns" let x =')
    write(folder / "a.nns", "let a = 1 2")
    write(folder / "b.nns", "let b = )")
    assert sorted(codes(load(main)[1])) == ["NNS002", "NNS005", "NNS014"]


def test_a_long_chain_of_files(folder: Path) -> None:
    for i in range(200):
        write(folder / f"{i}.nns", f'include "{i + 1}.nns"')
    assert codes(load(folder / "0.nns")[1]) == ["NNS009"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark(folder: Path, end: str, mark: bytes) -> None:
    file = folder / "main.nns"
    file.write_bytes(mark + f"# comment{end}let a = 1{end}let b = @{end}".encode())
    names, errors = load(file)
    assert names == ["a"]
    assert str(errors[0].labels[0].span) == f"{file}:3:9"


@pytest.mark.parametrize("content", [b"\xff\xfel\x00e\x00", b"let a = 1\r\n\r\nlet b\xe9 = 1", b"\xc3"])
def test_not_utf_8(folder: Path, content: bytes) -> None:
    (folder / "main.nns").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_source(folder / "main.nns")
    (found,) = caught.value.diagnostics
    assert found.code == "NNS001"
    start = found.labels[0].span.start
    assert found.labels[0].span.source.text[start] == "\ufffd"


def test_main_file_that_cannot_be_read(folder: Path) -> None:
    for path in (folder / "nothing.nns", folder, folder / "a\x00b", folder / ("x" * 5000)):
        with pytest.raises(SpecError) as caught:
            read_source(path)
        assert caught.value.diagnostics[0].code == "NNS010"
    (folder / "long.nns").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match="longer than"):
        read_source(folder / "long.nns")
