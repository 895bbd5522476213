"""Named data sets: where they are looked for and what is said when they are nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relgnn.config.base import DataConfig
from relgnn.data import check_folder, list_datasets, load, load_default, registry
from relgnn.data.corpus import read_corpus
from relgnn.data.folder import read_folder
from relgnn.data.registry import load_graph
from relgnn.errors import InputError

WriteFolder = Callable[..., Path]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any data set; the path is the current directory."""
    here = tmp_path / "clone"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("RELGNN_DATA", raising=False)
    monkeypatch.setattr(registry, "_CHECKOUT", here)
    return here


def test_the_order_of_the_search(
    nowhere: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = write_folder("shared/data/nations")
    assert load("nations").num_entities == 3 and registry.find("nations") == beside
    inside = write_folder("clone/data/nations")
    assert registry.find("nations") == inside
    named = write_folder("elsewhere/nations")
    monkeypatch.setenv("RELGNN_DATA", str(named.parent))
    assert registry.find("nations") == named
    monkeypatch.setenv("RELGNN_DATA", str(nowhere / "empty"))
    assert registry.find("nations") == inside


def test_a_data_set_that_is_nowhere(nowhere: Path) -> None:
    with pytest.raises(InputError) as error:
        load("codex_s")
    message = str(error.value)
    assert "\n" not in message
    assert str(nowhere / "data") in message and str(nowhere.parent / "shared/data") in message
    assert "RELGNN_DATA=FOLDER" in message and "relgnn data get codex_s" in message
    with pytest.raises(InputError) as error:
        load("codex_m")
    # which nobody can fetch
    assert "RELGNN_DATA=FOLDER" in str(error.value) and "data get" not in str(error.value)


def test_a_name_with_a_typo(nowhere: Path) -> None:
    with pytest.raises(InputError, match="did you mean codex_s.*relgnn data list"):
        load("codexs")
    with pytest.raises(InputError, match="neither a named data set nor a folder: `relgnn"):
        load("no/such/folder")


def test_a_path_is_loaded_under_its_folders_name(write_folder: WriteFolder) -> None:
    assert load(str(write_folder("mine"))).name == "mine"
    assert load(write_folder("mine")).name == "mine"


def test_a_configured_folder_may_have_the_name_of_a_data_set(
    nowhere: Path, write_folder: WriteFolder
) -> None:
    write_folder("clone/data/nations", train_tsv="a\tlikes\tb\nb\tknows\tc\n")
    own = write_folder("clone/nations")
    configured = DataConfig(path=Path("nations"))
    assert load_graph(configured).checksum == read_folder(own).checksum
    assert load_graph(configured).checksum != load("nations").checksum
    assert read_corpus(None, Path("nations")).texts == read_corpus(None, own).texts
    with pytest.raises(InputError, match="data.path=umls: no such folder; .* is data.name=umls"):
        load_graph(DataConfig(path=Path("umls")))


def test_the_default_is_codex_s_where_it_is_found(nowhere: Path, write_folder: WriteFolder) -> None:
    path = write_folder("clone/data/codex_s")
    graph, note = load_default()
    assert graph.name == "codex_s" and str(path) in note


def test_the_default_is_the_embedded_graph_elsewhere(nowhere: Path) -> None:
    graph, note = load_default()
    assert graph.name == "atlas"
    assert "embedded graph atlas" in note and "RELGNN_DATA=FOLDER" in note


def test_the_embedded_graph_is_sound() -> None:
    graph = load("atlas")
    assert len(graph.train) > 1000 and len(graph.texts) and len(graph.test)
    folder = registry.find("atlas")
    assert folder is not None and not check_folder(folder).problems
    assert sum(file.stat().st_size for file in folder.glob("*.*")) < 1_000_000


def test_the_list_says_where_each_was_found(nowhere: Path, write_folder: WriteFolder) -> None:
    path = write_folder("clone/data/umls")
    listed = {entry.name: entry for entry in list_datasets()}
    assert listed["umls"].path == path and listed["codex_s"].path is None
    assert listed["codex_s"].train == 32888 and "Wikipedia" in listed["codex_s"].description
    assert len([name for name in listed if name.startswith("grail_inductive/")]) == 16
