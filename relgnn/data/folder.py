"""A folder in the standard format: read it, or list everything that is wrong with it.

The files, UTF-8, tab-separated, without a header, plain or gzipped:

    train.tsv valid.tsv test.tsv     head, relation, tail[, time]
    entities.tsv                     id, name[, description[, page]]     optional
    relations.tsv                    id, name[, description]             optional
    aliases.tsv                      entity, another name of it           optional
    texts.jsonl                      {"id", "text", "entity": id or absent}
    types.tsv                        entity, type[, label]
    valid_negatives.tsv, test_negatives.tsv                              head, relation, tail
    strata.tsv                       split, head, relation, tail, feature | corpus | none
    fractions.json                   {"<percent>/<seed>": {"train": [rows], "valid": [rows]}}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from relgnn.data.extras import (
    Ids,
    read_aliases,
    read_fractions,
    read_negatives,
    read_strata,
    read_texts,
    read_types,
)
from relgnn.data.graph import KnowledgeGraph, first_occurrence
from relgnn.data.tables import (
    Problem,
    Problems,
    Table,
    find_file,
    raise_first,
    read_table,
    warn_of_header,
)
from relgnn.errors import InputError

SPLITS = ("train", "valid", "test")
_TRIPLE = ("head", "relation", "tail")
_HEADER = (("head", "subject", "source"), ("relation", "predicate"), ("tail", "object", "target"))
FourthColumn = Literal["page", "aliases"]


@dataclass(frozen=True)
class Report:
    """What a check of a folder found; `ok` where it can be loaded.

    `labels` counts each relation's marked sentences by part.
    """

    path: Path
    problems: tuple[Problem, ...]
    sizes: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the folder from being loaded."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that loading repairs or ignores."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors


@dataclass(frozen=True)
class _Vocabulary:
    ids: dict[str, int]
    names: list[str]
    descriptions: list[str]
    extra: list[str]


@dataclass(frozen=True)
class _Split:
    path: Path
    lines: np.ndarray
    triples: np.ndarray
    times: np.ndarray | None
    dropped: int


def read_folder(
    path: Path,
    name: str | None = None,
    fourth: FourthColumn = "page",
    allow: Collection[str] = (),
) -> KnowledgeGraph:
    """The knowledge graph of a folder in the standard format.

    Args:
        path: the folder.
        name: what to call the graph; the folder's name by default.
        fourth: what the fourth column of entities.tsv holds.
        allow: codes of errors that this data set is known to have and that do no harm.

    Raises:
        InputError: with the first thing that is wrong and how to list the rest.
    """
    graph, problems = _scan(Path(path), name or Path(path).name, fourth)
    raise_first((problem for problem in problems if problem.code not in allow), Path(path))
    return graph


def check_folder(path: str | Path) -> Report:
    """Everything that is wrong with a folder in the standard format, each with file and line."""
    graph, problems = _scan(Path(path), Path(path).name, "page")
    sizes = {
        **{split: len(getattr(graph, split)) for split in SPLITS},
        "entities": graph.num_entities,
        "relations": graph.num_relations,
        "texts": len(graph.texts),
    }
    return Report(Path(path), tuple(problems), sizes)


def _scan(folder: Path, name: str, fourth: FourthColumn) -> tuple[KnowledgeGraph, list[Problem]]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: check the path")
    problems = Problems()
    files = {split: _read_split(folder, split, problems) for split in SPLITS}
    tables = {split: found for split, found in files.items() if found is not None}
    entities = _read_vocabulary(
        folder,
        "entities",
        ("id", "name", "description", fourth),
        problems,
        (
            cell
            for _, table in tables.values()
            for pair in zip(table.columns[0], table.columns[2], strict=True)
            for cell in pair
        ),
    )
    relations = _read_vocabulary(
        folder,
        "relations",
        ("id", "name", "description"),
        problems,
        (cell for _, table in tables.values() for cell in table.columns[1]),
    )
    splits = {
        split: _index_split(*found, entities, relations, problems)
        for split, found in tables.items()
    }
    _check_splits(splits, entities, relations, problems)
    graph = _assemble(folder, name, fourth, entities, relations, splits, problems)
    return graph, problems.all()


def _read_split(folder: Path, split: str, problems: Problems) -> tuple[Path, Table] | None:
    path = find_file(folder, f"{split}.tsv")
    if path is None:
        problems.error(
            "missing",
            folder / f"{split}.tsv",
            None,
            f"no such file (nor {split}.tsv.gz): put the {split} triples there, "
            "head, relation, tail, one a line, separated by tabs",
        )
        return None
    before = len(problems.found)
    table = read_table(path, (*_TRIPLE, "time"), problems, optional=1)
    warn_of_header(path, table, _HEADER, problems)
    if split == "train" and not len(table) and len(problems.found) == before:
        problems.error(
            "empty_train", path, None, "holds no triple: put at least one training triple there"
        )
    times = table.columns[3]
    # The first line decides whether the file has times; the others have to agree with it.
    timed = bool(times) and times[0] != ""
    if all((time != "") == timed for time in times) and not any(
        "" in column for column in table.columns[:3]
    ):
        return path, table
    return path, _without_faulty_rows(path, table, timed, problems)


def _without_faulty_rows(path: Path, table: Table, timed: bool, problems: Problems) -> Table:
    good = []
    for row, (number, cells) in enumerate(table.rows()):
        if "" in cells[:3]:
            problems.error(
                "empty_cell",
                path,
                number,
                f"the {_TRIPLE[cells.index('')]} is empty: fill it in or delete the line",
            )
        elif timed != (cells[3] != ""):
            found, expected = (3, "4 (head, relation, tail, time)") if timed else (4, "3")
            problems.error(
                "columns",
                path,
                number,
                f"found {found} columns, expected {expected} as on line {table.lines[0]}: "
                "correct this line",
            )
        else:
            good.append(row)
    return table.select(good)


def _read_vocabulary(
    folder: Path,
    what: str,
    columns: tuple[str, ...],
    problems: Problems,
    used: Iterable[str],
) -> _Vocabulary:
    path = find_file(folder, f"{what}.tsv")
    if path is None:
        problems.warning(
            "no_names",
            folder / f"{what}.tsv",
            None,
            f"no such file, so ids serve as names: list id, name, description of the {what} there",
        )
        ids = {item: number for number, item in enumerate(dict.fromkeys(used))}
        blank = [""] * len(ids)
        return _Vocabulary(ids, list(ids), blank, blank)
    table = read_table(path, columns, problems, optional=len(columns) - 2)
    warn_of_header(path, table, (("id",), ("name", "label")), problems)
    row_of: dict[str, int] = {}
    for row, (number, item) in enumerate(zip(table.lines, table.columns[0], strict=True)):
        if not item:
            problems.error("empty_cell", path, number, "the id is empty: fill it in")
        elif item in row_of:
            problems.error(
                "duplicate_id",
                path,
                number,
                f"id {item!r} is already on line {table.lines[row_of[item]]}: keep one of the two",
            )
        else:
            row_of[item] = row
    if len(row_of) < len(table):
        table = table.select(row_of.values())
    ids = {item: number for number, item in enumerate(row_of)}
    extra = table.columns[3] if len(columns) > 3 else [""] * len(ids)
    return _Vocabulary(ids, table.columns[1], table.columns[2], extra)


def _index_split(
    path: Path, table: Table, entities: _Vocabulary, relations: _Vocabulary, problems: Problems
) -> _Split:
    triples = np.column_stack(
        [
            np.fromiter((vocabulary.ids.get(cell, -1) for cell in column), np.int64, len(table))
            for vocabulary, column in zip(
                (entities, relations, entities), table.columns, strict=False
            )
        ]
    )
    for row, place in np.argwhere(triples < 0):
        _report_unknown(path, table.lines[row], _TRIPLE[place], table.columns[place][row], problems)
    known = (triples >= 0).all(axis=1)
    times = np.array(table.columns[3], dtype=str) if any(table.columns[3][:1]) else None
    first = first_occurrence(triples, times)
    repeated = known & (first != np.arange(len(table)))
    for row in np.flatnonzero(repeated):
        problems.warning(
            "duplicate_triple",
            path,
            table.lines[row],
            f"repeats line {table.lines[first[row]]}, so it is left out: delete one of the two",
        )
    keep = np.flatnonzero(known & ~repeated)
    return _Split(
        path,
        np.array(table.lines, dtype=np.int64)[keep],
        triples[keep],
        None if times is None else times[keep],
        int(repeated.sum()),
    )


def _report_unknown(path: Path, line: int, role: str, value: str, problems: Problems) -> None:
    what, table = ("relation", "relations") if role == "relation" else ("entity", "entities")
    problems.error(
        f"unknown_{what}",
        path,
        line,
        f"{role} {value!r} is not in {table}.tsv: add it there or delete the line",
    )


def _check_splits(
    splits: Mapping[str, _Split], entities: _Vocabulary, relations: _Vocabulary, problems: Problems
) -> None:
    train = splits.get("train")
    if train is None or not len(train.triples):
        return
    relation_ids, entity_ids = list(relations.ids), list(entities.ids)
    trained = set(train.triples[:, 1].tolist())
    linked = set(train.triples[:, [0, 2]].ravel().tolist())
    for split in ("valid", "test"):
        if split not in splits:
            continue
        found = splits[split]
        untrained = dict.fromkeys(found.triples[:, 1].tolist()).keys() - trained
        for relation in sorted(untrained):
            line = found.lines[int(np.argmax(found.triples[:, 1] == relation))]
            problems.error(
                "untrained_relation",
                found.path,
                line,
                f"relation {relation_ids[relation]!r} has no train triple: add one to train.tsv "
                f"or delete the relation from {split}.tsv",
            )
        unseen = [
            e for e in dict.fromkeys(found.triples[:, [0, 2]].ravel().tolist()) if e not in linked
        ]
        if unseen:
            told = (
                f"entities without a train triple: {len(unseen)} (first: "
                f"{entity_ids[unseen[0]]!r}); only their text can tell them apart"
            )
            problems.warning("unseen_entity", found.path, None, told)
        # test too must not be what is selected by, or learned from as by an ensemble
        for other in ("train", "valid") if split == "test" else ("train",):
            if other in splits and (leaks := _common(splits[other], found)):
                told = "; delete them from one of the two"
                if found.times is not None:
                    told = " at another time; no model here uses times, and knows the answer"
                told = f"triples that are also in {other}.tsv: {leaks}{told}"
                problems.warning("leak", found.path, None, told)


def _common(first: _Split, second: _Split) -> int:
    """How many triples of the second are in the first as well."""
    both = np.concatenate([first.triples, second.triples])
    return int((first_occurrence(both)[len(first.triples) :] < len(first.triples)).sum())


def _assemble(
    folder: Path,
    name: str,
    fourth: FourthColumn,
    entities: _Vocabulary,
    relations: _Vocabulary,
    splits: Mapping[str, _Split],
    problems: Problems,
) -> KnowledgeGraph:
    ids = Ids(entities.ids, relations.ids)
    none = np.empty((0, 3), dtype=np.int64)
    triples = {split: splits[split].triples if split in splits else none for split in SPLITS}
    dropped = {split: splits[split].dropped if split in splits else 0 for split in SPLITS}
    extra = dict(zip(ids.entities, entities.extra, strict=True))
    pages = {entity: page for entity, page in extra.items() if fourth == "page" and page.strip()}
    types, type_labels = read_types(folder, ids, problems)
    return KnowledgeGraph(
        name=name,
        entities=tuple(entities.ids),
        relations=tuple(relations.ids),
        entity_names=tuple(entities.names),
        entity_descriptions=tuple(entities.descriptions),
        relation_names=tuple(relations.names),
        relation_descriptions=tuple(relations.descriptions),
        train=triples["train"],
        valid=triples["valid"],
        test=triples["test"],
        texts=read_texts(folder, ids, pages, problems),
        types=types,
        type_labels=type_labels,
        aliases=read_aliases(folder, ids, extra if fourth == "aliases" else {}, problems),
        strata=read_strata(folder, ids, triples, problems),
        negatives=read_negatives(folder, ids, problems),
        times=_gather_times(splits, problems),
        fractions=read_fractions(folder, triples, dropped, problems),
        dropped_duplicates={split: number for split, number in dropped.items() if number},
    )


def _gather_times(splits: Mapping[str, _Split], problems: Problems) -> dict[str, np.ndarray] | None:
    times = {split: found.times for split, found in splits.items() if found.times is not None}
    if not times:
        return None
    for split in [one for one in splits if one not in times and len(splits[one].triples)]:
        problems.error(
            "columns",
            splits[split].path,
            1,
            "has no time column but another split has one: give every split four columns",
        )
    empty = np.empty(0, dtype=str)
    return {split: times.get(split, empty) for split in (*SPLITS, "hidden")}
