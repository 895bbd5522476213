"""The optional files of a folder: aliases, texts, types, negatives, strata, frozen fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data.graph import STRATA, Text
from relgnn.data.tables import Problems, find_file, read_json, read_json_lines, read_table

_TRIPLE = ("head", "relation", "tail")
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Ids:
    """Where each id of a folder stands in its vocabulary."""

    entities: Mapping[str, int]
    relations: Mapping[str, int]

    def triple(self, cells: Sequence[str]) -> tuple[int, int, int] | None:
        """The ids of head, relation, tail; None where one is unknown."""
        head, relation, tail = cells
        try:
            return self.entities[head], self.relations[relation], self.entities[tail]
        except KeyError:
            return None


def read_aliases(
    folder: Path, ids: Ids, cells: Mapping[str, str], problems: Problems
) -> tuple[tuple[str, ...], ...]:
    """Other names of each entity; () where there is neither a file nor a column.

    Args:
        folder: the data set's folder, whose aliases.tsv has one a line.
        ids: its vocabulary.
        cells: entity id -> aliases with ", " between them, as a column of entities.tsv has them.
        problems: receives faults of aliases.tsv.
    """
    path = find_file(folder, "aliases.tsv")
    if path is None and not cells:
        return ()
    found = [[a for a in cells.get(e, "").split(", ") if a] for e in ids.entities]
    if path is not None:
        for number, (entity, alias) in read_table(path, ("entity", "alias"), problems).rows():
            if entity not in ids.entities:
                _report_unknown(path, number, entity, problems)
            elif not alias.strip():
                problems.error(
                    "empty_cell", path, number, "the alias is empty: fill it in or delete the line"
                )
            elif alias not in (own := found[ids.entities[entity]]):
                own.append(alias)
    return tuple(map(tuple, found))


def read_texts(
    folder: Path, ids: Ids, pages: Mapping[str, str], problems: Problems
) -> tuple[Text, ...]:
    """The corpus: texts.jsonl where there is one, else the pages of entities.tsv.

    Args:
        folder: the data set's folder.
        ids: its vocabulary.
        pages: entity id -> page, empty pages left out; a page's text id is its entity's id.
        problems: receives faults of texts.jsonl.
    """
    path = find_file(folder, "texts.jsonl")
    if path is None:
        return tuple(Text(entity, page, ids.entities[entity]) for entity, page in pages.items())
    if pages:
        problems.warning(
            "unused_pages",
            path,
            None,
            "is read instead of the fourth column of entities.tsv: move the pages into it",
        )
    texts: dict[str, Text] = {}
    for number, row in read_json_lines(path, problems):
        text = _checked_text(path, number, row, ids, texts, problems)
        if text is not None:
            texts[text.id] = text
    return tuple(texts.values())


def _checked_text(
    path: Path,
    line: int,
    row: Mapping[str, Any],
    ids: Ids,
    texts: Mapping[str, Text],
    problems: Problems,
) -> Text | None:
    name, text, entity = row.get("id"), row.get("text"), row.get("entity")
    if not isinstance(name, str) or not name:
        problems.error("json", path, line, f'"id" is {name!r}: write a text that is not empty')
    elif name in texts:
        problems.error(
            "duplicate_id", path, line, f"id {name!r} was used before: give each text its own id"
        )
    elif not isinstance(text, str) or not text.strip():
        problems.error(
            "empty_text", path, line, f"text {name!r} is empty: write its text or delete the line"
        )
    elif entity is not None and not (isinstance(entity, str) and entity in ids.entities):
        problems.error(
            "unknown_entity",
            path,
            line,
            f"entity {entity!r} is not in entities.tsv: add it there, or leave the key out for a "
            "text that is no entity's page",
        )
    else:
        return Text(name, text, None if entity is None else ids.entities[entity])
    return None


def _report_unknown(path: Path, line: int, entity: str, problems: Problems) -> None:
    problems.error(
        "unknown_entity",
        path,
        line,
        f"entity {entity!r} is not in entities.tsv: add it there or delete the line",
    )


def read_types(
    folder: Path, ids: Ids, problems: Problems
) -> tuple[tuple[tuple[str, ...], ...], dict[str, str]]:
    """Type ids of each entity, and the label of each type; ((), {}) without types.tsv."""
    path = find_file(folder, "types.tsv")
    if path is None:
        return (), {}
    types: list[list[str]] = [[] for _ in ids.entities]
    labels: dict[str, str] = {}
    table = read_table(path, ("entity", "type", "label"), problems, optional=1)
    for number, (entity, kind, label) in table.rows():
        if entity not in ids.entities:
            _report_unknown(path, number, entity, problems)
            continue
        labels[kind] = label or labels.get(kind, "")
        if kind not in types[ids.entities[entity]]:
            types[ids.entities[entity]].append(kind)
    return tuple(map(tuple, types)), labels


def read_negatives(folder: Path, ids: Ids, problems: Problems) -> dict[str, np.ndarray]:
    """The checked false triples of valid and test, [N, 3] each."""
    negatives = {}
    for split in ("valid", "test"):
        path = find_file(folder, f"{split}_negatives.tsv")
        if path is None:
            continue
        rows = []
        for number, cells in read_table(path, _TRIPLE, problems).rows():
            triple = ids.triple(cells)
            if triple is None:
                problems.error(
                    "unknown_entity",
                    path,
                    number,
                    "names an entity or a relation that is in no list: correct the ids",
                )
            else:
                rows.append(triple)
        negatives[split] = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return negatives


def read_strata(
    folder: Path, ids: Ids, triples: Mapping[str, np.ndarray], problems: Problems
) -> dict[str, np.ndarray] | None:
    """Per split the stratum code of each triple; None without strata.tsv or with faults in it."""
    path = find_file(folder, "strata.tsv")
    if path is None:
        return None
    codes: dict[tuple[str, tuple[int, ...] | None], int] = {}
    table = read_table(path, ("split", *_TRIPLE, "stratum"), problems)
    for number, (split, *cells, stratum) in table.rows():
        if split not in _SPLITS or stratum not in STRATA:
            problems.error(
                "strata",
                path,
                number,
                f"found split {split!r} and stratum {stratum!r}, expected one of "
                f"{', '.join(_SPLITS)} and one of {', '.join(STRATA)}: correct the line",
            )
        else:
            codes[split, ids.triple(cells)] = STRATA.index(stratum)
    strata = {}
    for split in _SPLITS:
        found = [codes.get((split, tuple(row)), -1) for row in triples[split].tolist()]
        if -1 in found:
            problems.error(
                "strata",
                path,
                None,
                f"has no line for {found.count(-1)} triples of {split}.tsv (first: row "
                f"{found.index(-1) + 1}): add them",
            )
            return None
        strata[split] = np.array(found, dtype=np.int8)
    return {**strata, "hidden": np.empty(0, dtype=np.int8)}


def read_fractions(
    folder: Path,
    triples: Mapping[str, np.ndarray],
    dropped: Mapping[str, int],
    problems: Problems,
) -> dict[str, dict[str, np.ndarray]] | None:
    """ "<percent>/<seed>" -> split -> kept rows; None without fractions.json or with faults in it.

    Rows are counted in the files, so a file with repeated triples cannot have frozen fractions.
    """
    path = find_file(folder, "fractions.json")
    if path is None:
        return None
    value = read_json(path, problems)
    fractions: dict[str, dict[str, np.ndarray]] = {}
    if not isinstance(value, dict) or not value or dropped["train"] or dropped["valid"]:
        problems.error(
            "fractions",
            path,
            None,
            'expected {"10/0": {"train": [rows], "valid": [rows]}} beside files without repeated '
            "triples: correct it, or delete it and let fractions be drawn",
        )
        return None
    for key, rows in value.items():
        fault = _fraction_fault(key, rows, triples)
        if fault:
            problems.error("fractions", path, None, f"{key!r} {fault}: correct it or delete it")
        else:
            fractions[key] = {
                split: np.array(rows[split], dtype=np.int64) for split in ("train", "valid")
            }
    return fractions


def _fraction_fault(key: str, rows: Any, triples: Mapping[str, np.ndarray]) -> str:
    percent, _, seed = key.partition("/")
    if not seed.isdecimal() or not percent.replace(".", "", 1).isdecimal():
        return "is not <percent>/<seed>"
    if f"{float(percent):g}/{int(seed)}" != key:
        return f"would be asked for as '{float(percent):g}/{int(seed)}'"
    for split in ("train", "valid"):
        kept = rows.get(split) if isinstance(rows, dict) else None
        if not isinstance(kept, list) or not all(isinstance(row, int) for row in kept):
            return f"has no list of {split} rows"
        if kept and not 0 <= min(kept) <= max(kept) < len(triples[split]):
            return f"names a row that {split}.tsv does not have (it has {len(triples[split])})"
        if len(set(kept)) < len(kept):
            return f"names a row of {split}.tsv twice"
    return ""
