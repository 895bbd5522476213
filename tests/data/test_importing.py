"""PyKEEN's and SimKGC's data folders as ours: what comes back, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn.data import check_folder, load
from relgnn.data.importing import import_folder
from relgnn.errors import InputError, MachineError
from tests.answers import Call, require_one_line

Row = tuple[str, str, str]

TRAIN = [("ann", "knows", "bob"), ("bob", "knows", "cy"), ("cy", "lives in", "York")]
SPLITS = {
    "train": TRAIN,
    "valid": [("ann", "lives in", "York")],
    "test": [("bob", "knows", "ann"), ("bob", "lives in", "York")],
}


def lines(rows: list[Row]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def write_texts(folder: Path, names: dict[str, str] | None = None) -> Path:
    """A folder of labelled triples; `names` says which file a split is in, else <split>.txt."""
    folder.mkdir(parents=True)
    for split, rows in SPLITS.items():
        name = (names or {}).get(split, f"{split}.txt")
        content = lines(rows).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def write_stored(folder: Path, splits: dict[str, list[Row]], **options: Any) -> dict[str, Any]:
    """A data set as PyKEEN itself stores it; returns its factories."""
    from pykeen.datasets.base import EagerDataset
    from pykeen.triples import TriplesFactory

    train = TriplesFactory.from_labeled_triples(np.array(splits["train"], dtype=str), **options)
    known: dict[str, Any] = {
        "entity_to_id": train.entity_to_id, "relation_to_id": train.relation_to_id,
    }  # fmt: skip
    rest = {
        split: TriplesFactory.from_labeled_triples(
            np.array(splits[split], dtype=str),
            filter_out_candidate_inverse_relations=False,
            **known,
        )
        for split in ("valid", "test")
    }
    EagerDataset(train, rest["test"], rest["valid"]).to_directory_binary(folder)
    return {"train": train, **rest}


def write_simkgc(folder: Path, **files: Any) -> Path:
    """A folder as SimKGC's preprocessing leaves it, but for `files` by the start of their name."""
    names = {"ann": "Ann", "bob": "Bob", "cy": "Cy", "York": "York"}
    words = {"knows": "is acquainted with", "lives in": "has a home in"}
    content: dict[str, Any] = {
        f"{split}.txt": [
            {"head_id": h, "head": names[h], "relation": words[r], "tail_id": t, "tail": names[t]}
            for h, r, t in rows
        ]
        for split, rows in SPLITS.items()
    }
    content["entities"] = [
        {"entity_id": one, "entity": name, "entity_desc": f"{name} is\tsomething.\nAnd more."}
        for one, name in names.items()
    ]
    content["relations"] = words
    folder.mkdir(parents=True)
    for name, value in (content | files).items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
    # the plain triples, from which they were made, stay there
    (folder / "train.txt").write_text("these\tare\tnot read\n")
    return folder


def labelled(folder: Path) -> dict[str, list[Row]]:
    """The triples of a folder in our format, by id."""
    graph = load(folder)
    return {
        split: [
            (graph.entities[h], graph.relations[r], graph.entities[t])
            for h, r, t in getattr(graph, split).tolist()
        ]
        for split in SPLITS
    }


LAYOUTS = {
    "plain": {},
    "tsv": {split: f"{split}.tsv" for split in SPLITS},
    "long names": {"train": "training.tsv", "valid": "validation.tsv", "test": "testing.tsv"},
    "gzipped": {split: f"{split}.txt.gz" for split in SPLITS},
    "dev": {"valid": "dev.txt"},
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_labelled_triples_come_back(names: dict[str, str], tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source", names)
    library, report = import_folder(source, tmp_path / "out")
    assert library == "PyKEEN" and report.ok
    assert labelled(tmp_path / "out") == SPLITS
    assert report.sizes == check_folder(tmp_path / "out").sizes
    assert load(tmp_path / "out").entity_names == ("ann", "bob", "cy", "York")


@pytest.mark.parametrize("inverse", [False, True])
def test_what_pykeen_stores_comes_back(inverse: bool, tmp_path: Path) -> None:
    factories = write_stored(tmp_path / "source", SPLITS, create_inverse_triples=inverse)
    (tmp_path / "source" / "training" / "base.pth").write_bytes(b"not a pickle, and not opened")
    import_folder(tmp_path / "source", tmp_path / "out")
    graph = load(tmp_path / "out")
    assert labelled(tmp_path / "out") == {
        split: [tuple(row) for row in factory.label_triples(factory.mapped_triples)]
        for split, factory in factories.items()
    }
    # PyKEEN's numbers are ours
    assert list(graph.entities) == list(factories["train"].entity_to_id)
    np.testing.assert_array_equal(graph.train, factories["train"].mapped_triples.numpy())


def test_pykeen_reads_the_same_from_the_same_file(tmp_path: Path) -> None:
    from pykeen.triples import TriplesFactory

    source = write_texts(tmp_path / "source")
    quoted = [*TRAIN, ('the "old" mill', "knows", "bob")]
    text = lines(TRAIN) + '"the ""old"" mill"\tknows\t"bob"\n'
    (source / "train.txt").write_text(text)
    import_folder(source, tmp_path / "out")
    ours = labelled(tmp_path / "out")["train"]
    factory = TriplesFactory.from_path(source / "train.txt")
    assert ours == quoted
    assert set(ours) == {tuple(row) for row in factory.label_triples(factory.mapped_triples)}


def test_a_data_set_of_pykeen_s_own_is_imported(tmp_path: Path) -> None:
    from pykeen.datasets.nations import NATIONS_TRAIN_PATH

    _, report = import_folder(Path(NATIONS_TRAIN_PATH).parent, tmp_path / "out")
    sizes = {"train": 1592, "valid": 199, "test": 201, "entities": 14, "relations": 55, "texts": 0}
    assert report.sizes == sizes and not report.problems


def test_a_table_gives_the_order_of_entities(tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source")
    (source / "entity_to_id.tsv").write_text("label\tid\nzoe\t0\nYork\t1\ncy\t2\n")
    import_folder(source, tmp_path / "out")
    assert load(tmp_path / "out").entities == ("zoe", "York", "cy", "ann", "bob")


def test_numbers_are_ids_where_no_table_tells_labels(tmp_path: Path) -> None:
    write_stored(tmp_path / "source", SPLITS)
    for path in (tmp_path / "source").rglob("*_to_id.tsv.gz"):
        path.unlink()
    import_folder(tmp_path / "source", tmp_path / "out")
    graph = load(tmp_path / "out")
    assert set(graph.entities) == {"0", "1", "2", "3"} and set(graph.relations) == {"0", "1"}


def test_simkgc_s_triples_names_and_descriptions_come_back(tmp_path: Path) -> None:
    library, _ = import_folder(write_simkgc(tmp_path / "source"), tmp_path / "out")
    graph = load(tmp_path / "out")
    assert library == "SimKGC" and labelled(tmp_path / "out") == SPLITS
    assert graph.entity_names == ("Ann", "Bob", "Cy", "York")
    assert graph.entity_descriptions[0] == "Ann is something. And more."
    assert graph.relation_names == ("is acquainted with", "has a home in")


def test_simkgc_s_words_are_ids_where_no_file_tells_ids(tmp_path: Path) -> None:
    import_folder(write_simkgc(tmp_path / "source", relations=None), tmp_path / "out")
    assert load(tmp_path / "out").relations == ("is acquainted with", "has a home in")


# letters of several scripts, what is quoted, what white space and ids of the field look like
LABEL = st.text(alphabet="aZ9é中 _/:.\"'#|\\-", min_size=1, max_size=6)


@st.composite
def knowledge(draw: st.DrawFn) -> dict[str, list[Row]]:
    """Splits without a repeated triple, whose relations train has all."""
    entities = draw(st.lists(LABEL, min_size=2, max_size=6, unique=True))
    relations = draw(st.lists(LABEL, min_size=1, max_size=3, unique=True))
    end = st.sampled_from(entities)
    train = [(draw(end), relation, draw(end)) for relation in relations]
    train += [(one, relations[0], draw(end)) for one in entities]
    row = st.tuples(end, st.sampled_from(relations), end)
    parts = {s: draw(st.lists(row, min_size=1, max_size=4, unique=True)) for s in ("valid", "test")}
    return {"train": list(dict.fromkeys(train)), **parts}


@settings(max_examples=25)
@given(splits=knowledge())
def test_any_labels_come_back_from_what_pykeen_stores(splits: dict[str, list[Row]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_stored(folder / "source", splits, filter_out_candidate_inverse_relations=False)
        import_folder(folder / "source", folder / "out")
        found = labelled(folder / "out")
        assert {split: set(rows) for split, rows in found.items()} == {
            split: set(rows) for split, rows in splits.items()
        }


def write(path: str, content: str) -> Any:
    return lambda folder: (folder / path).write_text(content, encoding="utf-8")


def remove(path: str) -> Any:
    return lambda folder: (folder / path).unlink()


BROKEN_TEXTS = {
    "split": (remove("valid.txt"), r"no valid triples; expected valid\.txt or valid\.tsv or"),
    "columns": (write("test.txt", "ann\tknows\n"), r"test\.txt:1: found 2 columns, expected 3"),
    "empty": (write("test.txt", "ann\t\tbob\n"), r"test\.txt:1: an id is empty"),
    "tab": (write("test.txt", '"a\tb"\tknows\tbob\n'), r"test\.txt:1: id 'a\\tb' has a tab"),
    "line": (write("test.txt", '"a\nb"\tknows\tbob\n'), r"test\.txt:2: id 'a\\nb' has a tab"),
    "quote": (write("test.txt", '"ann\tknows\tbob\n'), "goes on to the next one"),
    "long": (write("test.txt", "a" * 200_000 + "\tknows\tbob\n"), "field larger than"),
    "header": (write("entity_to_id.tsv", "ann\t0\n"), "expected the header id label"),
    "number": (write("entity_to_id.tsv", "id\tlabel\n0\ta\n0\tb\n"), "number 0 or label 'b' is"),
    "label": (write("entity_to_id.tsv", "id\tlabel\n0\ta\n1\ta\n"), "number 1 or label 'a' is"),
    "untrained": (write("test.txt", "ann\tsees\tbob\n"), "relation 'sees' has no train triple"),
    "no triple": (write("train.txt", ""), "holds no triple"),
    "bytes": (lambda f: (f / "test.txt").write_bytes(b"\xff\tr\tt\n"), "not UTF-8"),
    "own": (write("texts.jsonl", ""), "is a file of our own format already; run `relgnn data"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN_TEXTS.values(), ids=BROKEN_TEXTS)
def test_broken_triples_leave_nothing_behind(spoil: Any, message: str, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source")
    spoil(source)
    refuse(source, tmp_path, message)


def test_broken_stores_leave_nothing_behind(tmp_path: Path) -> None:
    write_stored(tmp_path / "whole", SPLITS)

    def spoiled(name: str, path: str, content: str | None, message: str) -> None:
        source = tmp_path / name
        shutil.copytree(tmp_path / "whole", source)
        if content is None:
            (source / path).unlink()
        else:
            (source / path).write_bytes(gzip.compress(content.encode()))
        refuse(source, tmp_path, message, {"whole", name})
        shutil.rmtree(source)

    triples = "validation/numeric_triples.tsv.gz"
    spoiled("gone", triples, None, "no valid triples; expected valid/numeric_triples.tsv or")
    spoiled("header", triples, "0\t0\t1\n", r"triples\.tsv\.gz:1: expected the header head")
    spoiled("number", triples, "head\trelation\ttail\n0\t0\t9\n", "gz:2: '9': expected a number")
    table = "testing/entity_to_id.tsv.gz"
    renamed = "id\tlabel\n0\tzoe\n1\tann\n2\tbob\n3\tcy\n"
    spoiled("other", table, renamed, "number 0 is 'zoe' here and 'York' in another part")
    (tmp_path / "words").mkdir()
    for part in ("training", "validation", "testing"):
        (tmp_path / "words" / part).mkdir()
        (tmp_path / "words" / part / "numeric_triples.tsv").write_text(
            "head\trelation\ttail\nann\t0\t1\n"
        )
    refuse(tmp_path / "words", tmp_path, "expected a number that", {"whole", "words"})


BROKEN_SIMKGC: dict[str, tuple[dict[str, Any], str]] = {
    "split": ({"valid.txt": None}, r"no valid triples; expected valid\.txt\.json"),
    "entities": ({"entities": None}, "no entities; expected entities.json"),
    "not json": ({"test.txt": "{"}, r"test\.txt\.json:1: not JSON"),
    "not a list": ({"test.txt": {}}, "expected a list of objects"),
    "null": ({"test.txt": "null"}, "expected a list of objects"),
    "no objects": ({"test.txt": ["ann"]}, "entry 1 of the list: expected texts as head_id"),
    "a key": ({"test.txt": [{"head_id": "ann"}]}, "entry 1 of the list: expected texts"),
    "a number": ({"entities": [{"entity_id": 3, "entity": "", "entity_desc": ""}]}, "entry 1"),
    "stranger": (
        {"test.txt": [{"head_id": "zoe", "relation": "is acquainted with", "tail_id": "ann"}]},
        "triple 1: 'zoe' is not in entities.json",
    ),
    "relation": (
        {"test.txt": [{"head_id": "ann", "relation": "sees", "tail_id": "bob"}]},
        "triple 1: 'sees' is not in relations.json",
    ),
    "relations": ({"relations": []}, "expected an object of id and words"),
    "one word": ({"relations": {"knows": "x", "lives in": "x"}}, "two relations have the same"),
    "twice": (
        {"entities": [{"entity_id": "ann", "entity": "", "entity_desc": ""}] * 2},
        "'ann' is there twice",
    ),
    "surrogate": (
        {"entities": '[{"entity_id": "\\ud800", "entity": "", "entity_desc": ""}]'},
        "half a character",
    ),
}


@pytest.mark.parametrize(("files", "message"), BROKEN_SIMKGC.values(), ids=BROKEN_SIMKGC)
def test_broken_simkgc_leaves_nothing_behind(
    files: dict[str, Any], message: str, tmp_path: Path
) -> None:
    refuse(write_simkgc(tmp_path / "source", **files), tmp_path, message)


def refuse(source: Path, place: Path, message: str, others: set[str] | None = None) -> None:
    with pytest.raises(InputError, match=message) as error:
        import_folder(source, place / "out")
    assert "\n" not in str(error.value) and str(source) in str(error.value)
    assert {one.name for one in place.iterdir()} == (others or {source.name})


def test_what_is_no_such_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        import_folder(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds neither PyKEEN's .* nor SimKGC's"):
        import_folder(tmp_path / "empty", tmp_path / "out")
    source = write_texts(tmp_path / "source")
    with pytest.raises(InputError, match="is there already"):
        import_folder(source, source)
    with pytest.raises(MachineError, match="could not be written"):
        import_folder(source, source / "train.txt" / "out")


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    import_folder(write_texts(tmp_path / "source"), tmp_path / "out")
    assert labelled(tmp_path / "out") == SPLITS


def test_the_command(call: Call, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source")
    (source / "train.txt").write_text(lines([*TRAIN, TRAIN[0]]))
    answer = call("data", "import", source, "--out", tmp_path / "one")
    assert answer.status == 0 and "from PyKEEN, can be loaded (3 train, 1 valid" in answer.out
    assert "train.tsv:4: repeats line 1" in answer.out
    told = json.loads(call("data", "import", source, "--out", tmp_path / "two", "--json").out)
    assert told["from"] == "PyKEEN" and told["sizes"]["entities"] == 4
    assert call("data", "check", tmp_path / "two").status == 0
    require_one_line(call("data", "import", source, "--out", tmp_path / "one"), 2, "already")
