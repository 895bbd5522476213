"""A user's own folder: what is read, and what is said about a bad one."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relgnn.data import KnowledgeGraph, check_folder, load
from relgnn.data.folder import read_folder
from relgnn.errors import InputError
from tests.data.conftest import FILES

WriteFolder = Callable[..., Path]


def names_of(graph: KnowledgeGraph, triples: np.ndarray) -> list[tuple[str, str, str]]:
    return [(graph.entities[h], graph.relations[r], graph.entities[t]) for h, r, t in triples]


def test_a_good_folder(write_folder: WriteFolder) -> None:
    path = write_folder(
        types_tsv="a\tperson\tPerson\nb\tdog\na\tartist\tArtist\n",
        valid_negatives_tsv="a\tlikes\ta\n",
        strata_tsv="".join(
            f"{split}\t{row}\t{stratum}\n"
            for split, row, stratum in [
                ("train", "a\tlikes\tb", "feature"),
                ("train", "b\tlikes\tc", "none"),
                ("train", "c\tknows\ta", "corpus"),
                ("train", "a\tknows\tb", "none"),
                ("valid", "a\tlikes\tc", "none"),
                ("test", "b\tknows\ta", "none"),
                ("test", "c\tlikes\tb", "corpus"),
            ]
        ),
        fractions_json='{"50/0": {"train": [0, 2], "valid": []}}',
    )
    graph = load(str(path))
    assert graph.name == "own"
    assert graph.entities == ("a", "b", "c")
    assert graph.entity_names == ("Ann", "Bob", "Cy")
    assert graph.train.tolist() == [[0, 0, 1], [1, 0, 2], [2, 1, 0], [0, 1, 1]]
    assert [(text.id, text.entity) for text in graph.texts] == [("t1", 0), ("t2", None)]
    assert graph.types == (("person", "artist"), ("dog",), ())
    assert dict(graph.type_labels) == {"person": "Person", "dog": "", "artist": "Artist"}
    assert graph.negatives["valid"].tolist() == [[0, 0, 0]]
    assert graph.strata is not None and graph.strata["train"].tolist() == [0, 2, 1, 2]
    assert graph.at_fraction(0.5, 0).train.tolist() == [[0, 0, 1], [2, 1, 0]]
    report = check_folder(path)
    assert report.ok and not report.problems
    assert report.sizes == {
        "train": 4,
        "valid": 1,
        "test": 2,
        "entities": 3,
        "relations": 2,
        "texts": 2,
    }


def test_gzipped_files_read_the_same(write_folder: WriteFolder) -> None:
    plain = write_folder("plain")
    packed = write_folder("packed")
    for file in list(packed.iterdir()):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert load(plain).checksum == load(packed).checksum


def test_ids_serve_as_names_without_lists_of_names(write_folder: WriteFolder) -> None:
    path = write_folder(entities_tsv=None, relations_tsv=None)
    graph = load(path)
    assert graph.entities == graph.entity_names == ("a", "b", "c")
    assert graph.relations == graph.relation_names == ("likes", "knows")
    assert [problem.code for problem in check_folder(path).warnings] == ["no_names", "no_names"]


def test_the_fourth_column_is_a_page_without_texts(write_folder: WriteFolder) -> None:
    pages = "a\tAnn\t\tAnn sings. Ann eats.\nb\tBob\nc\tCy\t\t\n"
    graph = load(write_folder(entities_tsv=pages, texts_jsonl=None))
    assert [(text.id, text.text, text.entity) for text in graph.texts] == [
        ("a", "Ann sings. Ann eats.", 0)
    ]
    both = check_folder(write_folder(entities_tsv=pages))
    assert [problem.code for problem in both.problems] == ["unused_pages"]
    named = read_folder(
        write_folder(entities_tsv="a\tAnn\t\tA, Annie\nb\tBob\nc\tCy\n"), fourth="aliases"
    )
    assert named.aliases == (("A", "Annie"), (), ())


def test_aliases_come_from_a_file_of_their_own(write_folder: WriteFolder) -> None:
    path = write_folder(aliases_tsv="a\tAnnie\nc\tCyrus, the Great\na\tA. N.\na\tAnnie\n")
    assert load(path).aliases == (("Annie", "A. N."), (), ("Cyrus, the Great",))
    assert check_folder(path).problems == ()
    both = read_folder(
        write_folder(entities_tsv="a\tAnn\t\tA, Annie\nb\tBob\nc\tCy\n",
                     aliases_tsv="a\tAnnie\nb\tBobby\n"),
        fourth="aliases",
    )  # fmt: skip
    assert both.aliases == (("A", "Annie"), ("Bobby",), ())


def test_no_aliases_leave_the_checksum_alone(write_folder: WriteFolder) -> None:
    assert load(write_folder()).aliases == ()
    assert load(write_folder(aliases_tsv="a\tAnnie\n")).checksum != load(write_folder("b")).checksum


def test_times_come_from_a_fourth_column(write_folder: WriteFolder) -> None:
    graph = load(
        write_folder(
            train_tsv="a\tlikes\tb\t2020\na\tlikes\tb\t2021\na\tlikes\tb\t2021\n",
            valid_tsv="a\tlikes\tc\t2022\n",
            test_tsv="b\tlikes\ta\t2023\n",
        )
    )
    assert graph.times is not None
    assert graph.times["train"].tolist() == ["2020", "2021"]
    assert graph.times["hidden"].tolist() == []
    assert dict(graph.dropped_duplicates) == {"train": 1}


def test_a_triple_of_test_that_train_has_at_another_time_is_told(write_folder: WriteFolder) -> None:
    dated = {
        "train_tsv": "a\tlikes\tb\t2020\nb\tlikes\ta\t2020\n",
        "valid_tsv": "a\tlikes\ta\t2021\n",
    }
    folder = write_folder("dated", **dated, test_tsv="a\tlikes\tb\t2022\n")
    told = [one.message for one in check_folder(folder).problems if one.code == "leak"]
    assert len(told) == 1 and told[0].startswith("triples that are also in train.tsv: 1 at another")


def test_a_split_without_triples_has_no_times(write_folder: WriteFolder) -> None:
    dated = {
        "train_tsv": "a\tlikes\tb\t1\nb\tknows\tc\t2\n",
        "valid_tsv": "",
        "test_tsv": "b\tlikes\ta\t3\n",
    }
    graph = load(write_folder(**dated))
    assert graph.times is not None
    assert [len(graph.times[split]) for split in ("train", "valid", "test")] == [2, 0, 1]


# What is changed; the code, the place and a part of what the message says.
ERRORS = [
    ({"aliases_tsv": "a\tA\nz\tZoe\n"}, "unknown_entity", "aliases.tsv:2", "add it there"),
    ({"aliases_tsv": "a\t \n"}, "empty_cell", "aliases.tsv:1", "the alias is empty"),
    ({"aliases_tsv": "a\n"}, "columns", "aliases.tsv:1", "found 1 column, expected 2"),
    ({"train_tsv": None}, "missing", "train.tsv", "put the train triples there"),
    ({"valid_tsv": None}, "missing", "valid.tsv", "put the valid triples there"),
    ({"train_tsv": ""}, "empty_train", "train.tsv", "at least one training triple"),
    ({"train_tsv": "a\tlikes\tb\na\tb\n"}, "columns", "train.tsv:2", "found 2 columns, expected 3"),
    ({"train_tsv": "a\tlikes\n"}, "columns", "train.tsv:1", "correct this line"),
    (
        {"train_tsv": "a\tlikes\tb\na\tlikes\tc\t2020\n"},
        "columns",
        "train.tsv:2",
        "found 4 columns, expected 3",
    ),
    (
        {"train_tsv": "a\tlikes\tb\t2020\nb\tknows\tc\n"},
        "columns",
        "train.tsv:2",
        "found 3 columns, expected 4",
    ),
    (
        {"train_tsv": "a\tlikes\tb\t1\nb\tknows\tc\t2\n"},
        "columns",
        "valid.tsv:1",
        "give every split four columns",
    ),
    (
        {"train_tsv": "a\t\tb\nb\tlikes\tc\nc\tknows\ta\n"},
        "empty_cell",
        "train.tsv:1",
        "the relation is empty",
    ),
    ({"entities_tsv": "a\n"}, "columns", "entities.tsv:1", "found 1 column, expected 2 to 4"),
    ({"entities_tsv": "\tAnn\na\tA\nb\tB\nc\tC\n"}, "empty_cell", "entities.tsv:1", "id is empty"),
    (
        {"entities_tsv": "a\tA\nb\tB\nc\tC\na\tA\n"},
        "duplicate_id",
        "entities.tsv:4",
        "already on line 1: keep one",
    ),
    (
        {"relations_tsv": "likes\tx\nknows\ty\nlikes\tz\n"},
        "duplicate_id",
        "relations.tsv:3",
        "keep one",
    ),
    (
        {"test_tsv": "a\tlikes\tz\n"},
        "unknown_entity",
        "test.tsv:1",
        "tail 'z' is not in entities.tsv: add it there or delete",
    ),
    (
        {"valid_tsv": "a\thates\tb\n"},
        "unknown_relation",
        "valid.tsv:1",
        "relation 'hates' is not in relations.tsv",
    ),
    (
        {"train_tsv": "a\tlikes\tb\nb\tlikes\tc\n"},
        "untrained_relation",
        "test.tsv:1",
        "relation 'knows' has no train triple: add one",
    ),
    (
        {"texts_jsonl": '{"id": "t", "text": " "}\n'},
        "empty_text",
        "texts.jsonl:1",
        "write its text or delete",
    ),
    (
        {"texts_jsonl": '{"id": "t", "text": "x"}\n{"id": "t", "text": "y"}\n'},
        "duplicate_id",
        "texts.jsonl:2",
        "give each text its own id",
    ),
    (
        {"texts_jsonl": '{"id": "t", "text": "x", "entity": "z"}\n'},
        "unknown_entity",
        "texts.jsonl:1",
        "add it there, or leave the key out",
    ),
    (
        {"texts_jsonl": '{"id": "t", "text": "x", "entity": ["a"]}\n'},
        "unknown_entity",
        "texts.jsonl:1",
        "entity ['a'] is not in entities.tsv",
    ),
    (
        {"texts_jsonl": '{"id": "t", "text": %s}\n' % ("1" * 5000)},
        "json",
        "texts.jsonl:1",
        "a number of too many digits",
    ),
    (
        {"texts_jsonl": "[" * 100_000 + "\n"},
        "json",
        "texts.jsonl:1",
        "too many brackets in each other",
    ),
    ({"texts_jsonl": '{"id": 3, "text": "x"}\n'}, "json", "texts.jsonl:1", '"id" is 3'),
    ({"texts_jsonl": '{"id": "t",\n'}, "json", "texts.jsonl:1", "write one object a line"),
    (
        {"texts_jsonl": '{"id": "t", "text": "sad \\ud83d ends"}\n'},
        "json",
        "texts.jsonl:1",
        "half a character",
    ),
    ({"texts_jsonl": "[1]\n"}, "json", "texts.jsonl:1", "found a list, expected an object"),
    (
        {"entities_tsv": "a\tAnn\nb\tBé\nc\tC\n".encode("latin-1")},
        "encoding",
        "entities.tsv:2",
        "byte 4 of the line (0xe9) is not UTF-8: convert",
    ),
    ({"types_tsv": "z\tdog\n"}, "unknown_entity", "types.tsv:1", "delete the line"),
    (
        {"test_negatives_tsv": "z\tlikes\ta\n"},
        "unknown_entity",
        "test_negatives.tsv:1",
        "correct the ids",
    ),
    (
        {"strata_tsv": "train\ta\tlikes\tb\tmaybe\n"},
        "strata",
        "strata.tsv:1",
        "feature, corpus, none",
    ),
    (
        {"strata_tsv": "train\ta\tlikes\tb\tnone\n"},
        "strata",
        "strata.tsv",
        "no line for 3 triples of train.tsv (first: row 2)",
    ),
    ({"fractions_json": "{"}, "json", "fractions.json:1", "correct the file"),
    ({"fractions_json": "[]"}, "fractions", "fractions.json", "delete it"),
    ({"fractions_json": '{"x": {}}'}, "fractions", "fractions.json", "not <percent>/<seed>"),
    (
        {"fractions_json": '{"10/0": {"train": [0]}}'},
        "fractions",
        "fractions.json",
        "no list of valid rows",
    ),
    (
        {"fractions_json": '{"10/0": {"train": [4], "valid": []}}'},
        "fractions",
        "fractions.json",
        "a row that train.tsv does not have (it has 4)",
    ),
    (
        {"fractions_json": '{"10/0": {"train": [0, 0], "valid": []}}'},
        "fractions",
        "fractions.json",
        "names a row of train.tsv twice",
    ),
    (
        {"fractions_json": '{"10.0/0": {"train": [0], "valid": []}}'},
        "fractions",
        "fractions.json",
        "would be asked for as '10/0'",
    ),
    ({"fractions_json": "{}"}, "fractions", "fractions.json", "delete it"),
]


@pytest.mark.parametrize(("changes", "code", "place", "says"), ERRORS, ids=lambda v: str(v)[:40])
def test_every_fault_is_one_line_that_says_what_to_do(
    write_folder: WriteFolder,
    changes: dict[str, str | bytes | None],
    code: str,
    place: str,
    says: str,
) -> None:
    path = write_folder(**changes)
    report = check_folder(path)
    assert not report.ok
    found = [problem for problem in report.errors if (problem.code, problem.place) == (code, place)]
    assert found, [str(problem) for problem in report.problems]
    assert says in found[0].message
    assert all("\n" not in str(problem) for problem in report.problems)
    with pytest.raises(InputError) as error:
        load(path)
    assert error.value.exit_code == 2
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{path}/{report.errors[0].place}: ")
    if len(report.errors) > 1:
        assert message.endswith(f"{len(report.errors) - 1} more: run `relgnn data check {path}`")


WARNINGS = [
    ({"train_tsv": b"\xef\xbb\xbfa\tlikes\tb\nb\tknows\tc\n"}, "bom", "train.tsv:1"),
    ({"valid_tsv": "a\tlikes\tc\na\tlikes\tc\n"}, "duplicate_triple", "valid.tsv:2"),
    ({"valid_tsv": "a\tlikes\tb\n"}, "leak", "valid.tsv"),
    ({"valid_tsv": FILES["test.tsv"]}, "leak", "test.tsv"),
    ({"train_tsv": "a\tlikes\tb\na\tknows\tb\n"}, "unseen_entity", "test.tsv"),
]


@pytest.mark.parametrize(("changes", "code", "place"), WARNINGS)
def test_what_can_be_repaired_is_a_warning(
    write_folder: WriteFolder, changes: dict[str, str | bytes], code: str, place: str
) -> None:
    path = write_folder(**changes)
    report = check_folder(path)
    assert report.ok
    assert (code, place) in [(problem.code, problem.place) for problem in report.warnings]
    assert load(path).train[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"entities_tsv": "ID\tName\tdescription\n" + FILES["entities.tsv"]}, "entities.tsv:1"),
        (
            {"valid_tsv": "head\trelation\ttail\na\tlikes\tc\n", "train_tsv":
             "subject\trelation\tobject\n" + FILES["train.tsv"], "entities_tsv": None,
             "relations_tsv": None, "texts_jsonl": None},
            "train.tsv:1",
        ),
    ],
)  # fmt: skip
def test_a_header_that_would_be_content_is_told(
    write_folder: WriteFolder, changes: dict[str, str | None], place: str
) -> None:
    report = check_folder(write_folder(**changes))
    assert ("header", place) in [(problem.code, problem.place) for problem in report.warnings]
    assert "header" not in {problem.code for problem in check_folder(write_folder("own2")).problems}


def test_windows_line_ends_and_blank_lines_do_no_harm(write_folder: WriteFolder) -> None:
    plain = write_folder("plain")
    windows = write_folder(
        "windows", train_tsv=(plain / "train.tsv").read_bytes().replace(b"\n", b"\r\n\r\n")
    )
    assert load(plain).checksum == load(windows).checksum


def test_many_faults_of_a_kind_are_summed_up(write_folder: WriteFolder) -> None:
    path = write_folder(test_tsv="".join(f"a\tlikes\tz{number}\n" for number in range(25)))
    errors = check_folder(path).errors
    assert len(errors) == 11
    assert "15 more lines with the same fault" in errors[-1].message


def test_repeated_triples_and_frozen_rows_do_not_go_together(write_folder: WriteFolder) -> None:
    path = write_folder(train_tsv="a\tlikes\tb\na\tlikes\tb\nb\tknows\tc\n", fractions_json="{}")
    assert [problem.code for problem in check_folder(path).errors] == ["fractions"]


def test_a_broken_archive(write_folder: WriteFolder) -> None:
    path = write_folder(train_tsv=None)
    (path / "train.tsv.gz").write_bytes(b"not gzip")
    with pytest.raises(InputError, match=r"train.tsv.gz: cannot be read .* replace the file"):
        load(path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder: check the path"):
        check_folder(tmp_path / "nowhere")


_WORD = st.text(
    st.characters(codec="utf-8", exclude_characters="\t\n\r\0\ufeff"), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_written_is_read_back_whatever_the_order_of_entities(data: st.DataObject) -> None:
    entities = data.draw(st.lists(_WORD, min_size=2, max_size=6, unique=True))
    names = data.draw(st.lists(_WORD, min_size=len(entities), max_size=len(entities)))
    relations = data.draw(st.lists(_WORD, min_size=1, max_size=3, unique=True))
    triple = st.tuples(*map(st.sampled_from, (entities, relations, entities)))
    train = [(entities[0], relation, entities[1]) for relation in relations]
    train += data.draw(st.lists(triple, max_size=8))
    splits = {"train": list(dict.fromkeys(train)), "valid": [], "test": []}
    for split in ("valid", "test"):
        splits[split] = data.draw(st.lists(triple, max_size=4, unique=True))
    texts = data.draw(st.lists(_WORD.filter(str.strip), max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)

        def write(name: str, lines: list[str]) -> None:
            (path / name).write_bytes("".join(f"{line}\n" for line in lines).encode())

        for split, rows in splits.items():
            write(f"{split}.tsv", ["\t".join(row) for row in rows])
        listed = [f"{entity}\t{name}" for entity, name in zip(entities, names, strict=True)]
        write("entities.tsv", listed)
        write("relations.tsv", [f"{relation}\t" for relation in relations])
        write(
            "texts.jsonl",
            [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)],
        )
        graph = load(path)
        write("entities.tsv", data.draw(st.permutations(listed)))
        permuted = load(path)
    assert graph.entities == tuple(entities) and graph.entity_names == tuple(names)
    assert [text.text for text in graph.texts] == texts
    for split, rows in splits.items():
        assert names_of(graph, getattr(graph, split)) == rows
        assert names_of(permuted, getattr(permuted, split)) == rows
