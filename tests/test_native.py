"""Compiling C++ on first use: the cache, the switch, and what a failure says."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from relgnn import native

SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RELGNN_CACHE", str(tmp_path / "cache"))
    native._load.cache_clear()
    yield
    native._load.cache_clear()


def write(folder: Path, text: str) -> Path:
    path = folder / "answer.cpp"
    path.write_text(text)
    return path


def compiled(folder: Path) -> list[Path]:
    return list((folder / "cache" / "native").glob("*"))


def test_compiles_once_for_each_version_of_the_source(tmp_path: Path) -> None:
    library = native.library(write(tmp_path, SOURCE))
    if library is None:
        pytest.skip("no compiler")
    assert library.answer() == 42
    (first,) = compiled(tmp_path)
    stamp = first.stat().st_mtime_ns
    native._load.cache_clear()
    assert native.library(write(tmp_path, SOURCE)) is not None
    assert first.stat().st_mtime_ns == stamp
    native._load.cache_clear()
    changed = native.library(write(tmp_path, SOURCE.replace("42", "43")))
    assert changed is not None and changed.answer() == 43
    assert len(compiled(tmp_path)) == 2


def test_the_compiler_may_bring_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if native.library(write(tmp_path, SOURCE)) is None:
        pytest.skip("no compiler")
    native._load.cache_clear()
    monkeypatch.setenv("CXX", "g++ -DANSWER=43")
    library = native.library(write(tmp_path, SOURCE.replace("42", "ANSWER")))
    assert library is not None and library.answer() == 43


def test_a_source_that_does_not_compile_warns_and_leaves_nothing(tmp_path: Path) -> None:
    if native.library(write(tmp_path, SOURCE)) is None:
        pytest.skip("no compiler")
    before = compiled(tmp_path)
    native._load.cache_clear()
    with pytest.warns(UserWarning, match="answer.cpp did not compile.*RELGNN_NATIVE=0"):
        assert native.library(write(tmp_path, "no C++")) is None
    assert compiled(tmp_path) == before


def test_no_compiler_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library(write(tmp_path, SOURCE)) is None


def test_a_compiler_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "g++ '")
    with pytest.warns(UserWarning, match=r"CXX=g\+\+ ' cannot be read \(No closing quotation\)"):
        assert native.library(write(tmp_path, SOURCE)) is None


def test_the_path_of_a_compiler_may_have_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shutil.which("g++")
    if found is None or native.library(write(tmp_path, SOURCE)) is None:
        pytest.skip("no compiler")
    native._load.cache_clear()
    (tmp_path / "my tools").mkdir()
    (tmp_path / "my tools" / "g++").symlink_to(found)
    monkeypatch.setenv("CXX", str(tmp_path / "my tools" / "g++"))
    library = native.library(write(tmp_path, SOURCE))
    assert library is not None and library.answer() == 42


def test_disabled_holds_within_the_context_only(tmp_path: Path) -> None:
    source = write(tmp_path, SOURCE)
    with native.disabled():
        assert native.library(source) is None
    assert (native.library(source) is None) == (native._load(source) is None)


def test_pointer_of_none_is_null_and_of_a_view_is_refused() -> None:
    assert native.pointer(None) is None
    with pytest.raises(AssertionError):
        native.pointer(torch.zeros(3, 4).t())
