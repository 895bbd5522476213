"""Readers of the public data sets whose files differ from the standard folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from relgnn.data.extras import Ids
from relgnn.data.graph import KnowledgeGraph, first_occurrence
from relgnn.data.tables import Problems, Table, find_file, raise_first, read_table
from relgnn.errors import InputError

_SPLITS = ("train", "valid", "test")
_TRIPLE = ("head", "relation", "tail")


def read_grail(folder: Path, name: str) -> KnowledgeGraph:
    """One graph of GraIL's inductive benchmark (Teru et al., ICML 2020).

    A graph X and its X_ind have different entities but share relation ids, so that a model trained
    on X answers X_ind/test from the support graph X_ind/train. Names come by id from the data set
    that the graph was cut from, which has to lie beside `grail_inductive`.

    Args:
        folder: the graph's folder, such as grail_inductive/fb237_v1_ind.
        name: what to call the graph.

    Raises:
        InputError: where a file is missing or broken.
    """
    problems = Problems()
    source = folder.parent.parent / ("fb15k237" if folder.name.startswith("fb") else "wn18rr")
    tables = {split: _table(folder, f"{split}.txt", _TRIPLE, problems) for split in _SPLITS}
    pair = folder.parent / folder.name.removesuffix("_ind")
    trained = _table(pair, "train.txt", _TRIPLE, problems)
    entity_text = _names(source, "entities", problems)
    relation_text = _names(source, "relations", problems)
    raise_first(problems.all(), folder)
    used = set(trained.columns[1]).union(*(table.columns[1] for table in tables.values()))
    entities = dict.fromkeys(
        cell
        for table in tables.values()
        for ends in zip(table.columns[0], table.columns[2], strict=True)
        for cell in ends
    )
    unnamed = [entity for entity in entities if entity not in entity_text]
    if unnamed:
        raise InputError(
            f"{source}: entities.tsv has no entity {unnamed[0]!r} of {folder.name}; add it there"
        )
    relations = [relation for relation in relation_text if relation in used]
    ids = Ids(_positions(entities), _positions(relations))
    return KnowledgeGraph(
        name=name,
        entities=tuple(entities),
        relations=tuple(relations),
        entity_names=tuple(entity_text[entity][0] for entity in entities),
        entity_descriptions=tuple(entity_text[entity][1] for entity in entities),
        relation_names=tuple(relation_text[relation][0] for relation in relations),
        relation_descriptions=tuple(relation_text[relation][1] for relation in relations),
        train=_by_name(tables["train"], ids, folder / "train"),
        valid=_by_name(tables["valid"], ids, folder / "valid"),
        test=_by_name(tables["test"], ids, folder / "test"),
    )


def read_findkg(folder: Path, name: str) -> KnowledgeGraph:
    """FinDKG (Li and Sanna Passino, 2024): financial news by week.

    A row that repeats another of its split (same triple, same week) is left out and counted in
    `dropped_duplicates`.

    Raises:
        InputError: where a file is missing or broken.
    """
    problems = Problems()
    columns = (*_TRIPLE, "week", "flag")
    tables = {split: _table(folder, f"{split}.txt", columns, problems) for split in _SPLITS}
    entities = _table(folder, "entity2id.txt", ("name", "id", "type", "flag"), problems)
    relations = _table(folder, "relation2id.txt", ("relation", "id"), problems)
    relation_text = _names(folder, "relations", problems)
    raise_first(problems.all(), folder)
    triples, times, dropped = {}, {}, {}
    for split, table in tables.items():
        found, weeks = _by_number(table, folder / split), np.array(table.columns[3], dtype=str)
        keep = first_occurrence(found, weeks) == np.arange(len(found))
        triples[split], times[split] = found[keep], weeks[keep]
        dropped[split] = int((~keep).sum())
    names = relations.columns[0]
    return KnowledgeGraph(
        name=name,
        entities=tuple(entities.columns[0]),
        relations=tuple(names),
        entity_names=tuple(entities.columns[0]),
        entity_descriptions=("",) * len(entities),
        relation_names=tuple(relation_text[relation][0] for relation in names),
        relation_descriptions=("",) * len(names),
        train=triples["train"],
        valid=triples["valid"],
        test=triples["test"],
        types=tuple((kind,) for kind in entities.columns[2]),
        type_labels={kind: kind.lower() for kind in entities.columns[2]},
        times={**times, "hidden": np.empty(0, dtype=str)},
        dropped_duplicates=dropped,
    )


def read_lastfm(folder: Path, name: str) -> KnowledgeGraph:
    """The knowledge graph around Last.FM's artists (Wang et al., KGCN, WWW 2019), all of it train.

    Entities 0 to 3845 are the items of interactions.tsv; ids have no names.

    Raises:
        InputError: where a file is missing or broken.
    """
    problems = Problems()
    table = _table(folder, "kg_indexed.tsv", _TRIPLE, problems)
    relation_text = _names(folder, "relations", problems)
    raise_first(problems.all(), folder)
    triples = _by_number(table.select(range(1, len(table))), folder / "kg_indexed.tsv")
    count = int(triples[:, [0, 2]].max()) + 1
    return KnowledgeGraph(
        name=name,
        entities=tuple(map(str, range(count))),
        relations=tuple(relation_text),
        entity_names=("",) * count,
        entity_descriptions=("",) * count,
        relation_names=tuple(label for label, _ in relation_text.values()),
        relation_descriptions=("",) * len(relation_text),
        train=triples,
        valid=np.empty((0, 3), dtype=np.int64),
        test=np.empty((0, 3), dtype=np.int64),
    )


def _table(folder: Path, name: str, columns: tuple[str, ...], problems: Problems) -> Table:
    path = find_file(folder, name)
    if path is None:
        problems.error(
            "missing",
            folder / name,
            None,
            f"no such file in {folder} (nor {name}.gz): copy the whole data set again",
        )
        return Table([], tuple([] for _ in columns))
    return read_table(path, columns, problems)


def _names(folder: Path, what: str, problems: Problems) -> dict[str, tuple[str, str]]:
    """Id -> (name, description) of entities.tsv or relations.tsv."""
    table = _table(folder, f"{what}.tsv", ("id", "name", "description"), problems)
    return {item: (name, text) for item, name, text in zip(*table.columns, strict=True)}


def _positions(items: Iterable[str]) -> Mapping[str, int]:
    return {item: number for number, item in enumerate(items)}


def _by_name(table: Table, ids: Ids, place: Path) -> np.ndarray:
    found = [ids.triple(cells) for _, cells in table.rows()]
    if None in found:
        raise InputError(
            f"{place}: line {table.lines[found.index(None)]} has a relation without a name beside "
            "it: copy the data set and the one that it was cut from again"
        )
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def _by_number(table: Table, place: Path) -> np.ndarray:
    try:
        columns = [np.array(column, dtype=np.int64) for column in table.columns[:3]]
    except ValueError as error:
        raise InputError(f"{place}: expected integer ids ({error}): copy the file again") from None
    return np.column_stack(columns).reshape(-1, 3)
