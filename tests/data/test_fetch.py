"""Building a data set from its public home, on small archives of the same layout."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from http.client import IncompleteRead
from pathlib import Path

import pytest

from relgnn.data import load
from relgnn.data.fetch import get
from relgnn.data.registry import find
from relgnn.data.sources import TARGETS, Target
from relgnn.data.tables import Problems, find_file, read_text
from relgnn.errors import InputError, MachineError

SPLITS = {
    "train": "a_x\tlikes\tb\nb\tlikes\ta_x\n",
    "valid": "a_x\tlikes\ta_x\n",
    "test": "b\tlikes\tb\n",
}


def archive(folder: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for split, content in SPLITS.items():
            member = tarfile.TarInfo(f"{folder}{split}.txt")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


HOME = {
    "umls.tar.gz": archive(),
    "nations.tar.gz": archive("nations/"),
    "FB15k-237.tar.gz": archive("./Release/"),
    **{f"{split}.txt": content.encode() for split, content in SPLITS.items()},
    "valid_negatives.txt": b"b\tlikes\ta_x\r\n",
    "test_negatives.txt": b"b\tlikes\ta_x",
    "umls/entity2text.txt": b"a_x\ta x\nb\tb\nz\tunused\n",
    "entity2textlong.txt": b"b\tBee  is a\xc2\xa0letter.\n",
    "WN18RR/entity2text.txt": b"b\tbee, an insect, small\na_x\tax, a tool\n",
    "relation2text.txt": b"likes\tis fond of\n",
    "FB15k_mid2name.txt": b"a_x\tThe_Ax\nb\tBee\n",
    "entity2name.txt": b"a_x\tAx\nb\tBee\n",
    "entity2des.txt": b"a_x\tAn ax is a tool. It cuts.\nb\tBees fly.\n",
    "relations.json": json.dumps(
        {
            "likes": {"label": "likes", "description": "is\nfond of"},
            "hates": {"label": "hates", "description": ""},
        }
    ).encode(),
}


def opener(url: str) -> bytes:
    assert re.match(r"https://github.com/[\w-]+/[\w-]+/raw/[0-9a-f]{7,}/", url)
    return next(content for name, content in HOME.items() if url.endswith(f"/{name}"))


def unchecked(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    return tuple(Target(target.name, target.sources, target.build) for target in targets)


@pytest.mark.parametrize("name", TARGETS)
def test_every_set_is_built_into_a_folder_that_loads(name: str, tmp_path: Path) -> None:
    path = get(name, tmp_path / "data", opener, {name: unchecked(TARGETS[name])})
    graph = load(path)
    assert (len(graph.train), len(graph.valid), len(graph.test)) == (2, 1, 1)
    assert set(graph.entities) == {"a_x", "b"} and graph.relations == ("likes",)
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_names_glosses_and_pages_arrive(tmp_path: Path) -> None:
    targets = {name: unchecked(entry) for name, entry in TARGETS.items()}
    built = {name: load(get(name, tmp_path, opener, targets)) for name in targets}
    assert built["umls"].node_texts() == ["a x.", "b. Bee is a letter."]
    assert built["wn18rr"].entity_descriptions == ("an insect, small", "a tool")
    assert built["fb15k237"].entity_names == ("The Ax", "Bee")
    assert built["codex_s"].texts[0].text == "An ax is a tool. It cuts."
    assert built["codex_s"].relation_descriptions == ("is fond of",)
    assert built["codex_s"].negatives["valid"].tolist() == [[1, 0, 0]]


def test_other_triples_than_expected_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train.tsv has sha256 .* expected .* copy the data set"):
        get("umls", tmp_path, opener)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "failure", [OSError("no route to host"), IncompleteRead(b"half", 100)], ids=["away", "half"]
)
def test_no_network_leaves_nothing_behind(failure: Exception, tmp_path: Path) -> None:
    def offline(url: str) -> bytes:
        raise failure

    with pytest.raises(
        MachineError, match="(no route to host|IncompleteRead).*check the network"
    ) as error:
        get("umls", tmp_path, offline)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"not an archive", b""])
def test_a_page_instead_of_an_archive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="is not what was expected"):
        get("umls", tmp_path, lambda url: content)
    assert not list(tmp_path.iterdir())


def test_a_set_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "umls").mkdir()
    with pytest.raises(InputError, match="already there: delete it"):
        get("umls", tmp_path, opener)


def test_a_set_without_a_public_home(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be fetched: expected one of umls, nations"):
        get("findkg", tmp_path, opener)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="could not be written.*choose another folder"):
        get("umls", tmp_path / "file", opener)


@pytest.mark.parametrize(
    ("name", "target"),
    [(name, target) for name, targets in TARGETS.items() for target in targets if target.sha256],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_expected_digests_are_those_of_the_copy_we_measure_on(
    shared_data: Path, name: str, target: Target
) -> None:
    folder = find(name)
    file = folder and find_file(folder, target.name)
    if file is None:
        pytest.skip(f"{name} is not beside this checkout")
    text = read_text(file, Problems())
    assert hashlib.sha256(text.encode()).hexdigest() == target.sha256
