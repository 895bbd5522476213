"""What people said of triples: the last word on each, what it changes, and files of verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data import KnowledgeGraph, is_in
from relgnn.data.tables import Problems, raise_alone, read_json_lines, read_table, read_text
from relgnn.errors import InputError
from relgnn.loop.candidates import pair_folds
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.training import load_json, save_json

Triple = tuple[str, str, str]
"""Head, relation, tail; the data set's ids."""

VERDICTS = ("accept", "reject")
COLUMNS = ("head", "relation", "tail", "verdict", "by")
OPTIONAL = ("reason", "time")
ACCEPTED = "verdict"
"""Reason of a triple that was accepted because a person said so."""
REVOKED = "revoked"
"""Decision and reason of a triple that a person rejected."""


@dataclass(frozen=True)
class Verdicts:
    """The last verdict on each triple.

    Args:
        accept: triples that are true.
        reject: triples that are not.
    """

    accept: frozenset[Triple] = frozenset()
    reject: frozenset[Triple] = frozenset()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.accept or self.reject)

    @classmethod
    def of(
        cls, lines: Iterable[Mapping[str, str]], graph: KnowledgeGraph | None = None
    ) -> Verdicts:
        """The verdicts of lines in the order they were given; a later one overrules.

        Args:
            lines: with head, relation, tail and verdict.
            graph: where it is given, verdicts that change nothing are left out: any on a triple of
                train or valid, and an "accept" on one of test, which nobody may teach.

        Raises:
            InputError: an entity or relation is not in the graph.
        """
        last = {triple_of(line): line["verdict"] for line in lines}
        if graph is not None:
            splits = given_in(graph, numbers(graph, last))
            last = {
                triple: verdict
                for (triple, verdict), split in zip(last.items(), splits, strict=True)
                if counts(verdict, split)
            }
        return cls(*(frozenset(t for t, said in last.items() if said == v) for v in VERDICTS))

    @classmethod
    def load(cls, path: Path) -> Verdicts:
        """What `save` wrote; none where there is no file."""
        return cls.of(load_json(path)) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """Write them as JSON, atomically.

        Raises:
            MachineError: the file cannot be written.
        """
        names = COLUMNS[:4]
        lines = [
            dict(zip(names, (*triple, verdict), strict=True))
            for verdict, triples in zip(VERDICTS, (self.accept, self.reject), strict=True)
            for triple in sorted(triples)
        ]
        save_json(path, lines)

    def replay(self, accepted: Mapping[Triple, Any]) -> dict[Triple, Any]:
        """Accepted triples and weights after the verdicts: rejected ones gone, others at 1."""
        kept = {triple: w for triple, w in accepted.items() if triple not in self.reject}
        return kept | dict.fromkeys(sorted(self.accept), 1.0)

    def correct(self, pseudo: Pseudo, graph: KnowledgeGraph) -> Pseudo:
        """The same for typed pseudo triples; those that nobody had spoken of come last.

        What a person accepts is certain, whatever the views had said.
        """
        if not self:
            return pseudo
        pseudo = pseudo.subset(~is_in(pseudo.triples, numbers(graph, self.reject)))
        said = is_in(pseudo.triples, numbers(graph, self.accept))
        weight, p = (np.where(said, 1.0, values) for values in (pseudo.weight, pseudo.p))
        role = np.where(said, Role.ACCEPTED, pseudo.role)
        sure = replace(pseudo, weight=weight, role=role, p=p)
        return sure.join(self.beside(pseudo.triples, graph))

    def beside(self, triples: np.ndarray, graph: KnowledgeGraph) -> Pseudo:
        """The accepted ones that are not among triples [C, 3]."""
        accept = numbers(graph, self.accept)
        added = accept[~is_in(accept, triples)]
        return Pseudo(added, np.ones(len(added)))

    def events(
        self, triples: np.ndarray, graph: KnowledgeGraph, folds: int
    ) -> Iterator[dict[str, Any]]:
        """A round's ledger events of those that are not among its candidates.

        Nothing was judged, so that probabilities are null and the evidence is empty.

        Args:
            triples: int64 [C, 3], the candidates.
            graph: numbers names.
            folds: of the cross-fitting.
        """
        for decision, reason, weight, said in (
            ("accepted", ACCEPTED, 1.0, self.accept), (REVOKED, REVOKED, 0.0, self.reject),
        ):  # fmt: skip
            rows = numbers(graph, said)
            rows = rows[~is_in(rows, triples)]
            fold = pair_folds(rows[:, 0], rows[:, 2], folds)
            for (head, relation, tail), number in zip(rows.tolist(), fold, strict=True):
                silent = dict.fromkeys(("p_text", "p_graph", "p_rules", "p"))
                yield {
                    "head": graph.entities[head],
                    "relation": graph.relations[relation],
                    "tail": graph.entities[tail],
                    "evidence_ids": [],
                    **silent,
                    "decision": decision,
                    "weight": weight,
                    "reason": reason,
                    "fold": number,
                }


def triple_of(line: Mapping[str, Any]) -> Triple:
    """Head, relation and tail of an event or a verdict."""
    return line["head"], line["relation"], line["tail"]


def numbers(graph: KnowledgeGraph, triples: Iterable[Triple]) -> np.ndarray:
    """The graph's numbers of triples, int64 [N, 3]; sets in the order of their ids.

    Raises:
        InputError: an entity or relation is not in the graph.
    """
    triples = sorted(triples) if isinstance(triples, frozenset) else list(triples)
    if not triples:
        return np.zeros((0, 3), dtype=np.int64)
    entity = {name: i for i, name in enumerate(graph.entities)}
    relation = {name: i for i, name in enumerate(graph.relations)}
    try:
        rows = [(entity[h], relation[r], entity[t]) for h, r, t in triples]
    except KeyError as error:
        raise InputError(
            f"a verdict is on {error.args[0]!r}, which is not in {graph.name}; take its line out "
            "of ledger/verdicts.jsonl, and add verdicts with `relgnn ledger import`"
        ) from None
    return np.array(rows, dtype=np.int64)


def given_in(graph: KnowledgeGraph, triples: np.ndarray) -> list[str]:
    """For each of triples [N, 3] the split that it is given in: "train", "valid", "test" or ""."""
    found = [""] * len(triples)
    for split in ("test", "valid", "train"):
        for row in np.flatnonzero(is_in(triples, getattr(graph, split))):
            found[row] = split
    return found


def counts(verdict: str, split: str) -> bool:
    """Whether a verdict on a triple changes anything, where the triple is given in a split."""
    return not split or (split == "test" and verdict == "reject")


def read_verdicts(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, verdict) of a file: JSON lines where its name says .jsonl, else tab-separated.

    A table may begin with the names of its columns, in any order; without them the columns are
    head, relation, tail, verdict, by, and then reason and time, which may be left out.

    Raises:
        InputError: it is absent or not UTF-8, a column is missing or unknown, a verdict is neither
            "accept" nor "reject", a time is not ISO 8601; with the line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    problems = Problems()
    if ".jsonl" in path.suffixes:
        rows = list(read_json_lines(path, problems, '{"head": …, "verdict": …, "by": …}'))
    else:
        rows = _table_rows(path, problems)
    raise_alone(problems, path.parent)
    return [(line, _checked(row, f"{path}:{line}")) for line, row in rows]


def _table_rows(path: Path, problems: Problems) -> list[tuple[int, dict[str, Any]]]:
    names = tuple(read_text(path, Problems()).split("\n", 1)[0].rstrip("\r").split("\t"))
    if not set(COLUMNS[:3]) <= set(names):
        everything = (*COLUMNS, *OPTIONAL)
        table = read_table(path, everything, problems, optional=len(OPTIONAL))
        return [(line, dict(zip(everything, row, strict=True))) for line, row in table.rows()]
    # a column that is missing altogether is missing in the header's line
    _require_columns(names, f"{path}:1")
    rows = list(read_table(path, names, problems).rows())[1:]
    return [(line, dict(zip(names, row, strict=True))) for line, row in rows]


def _require_columns(names: Sequence[str], place: str) -> None:
    missing = [name for name in COLUMNS if name not in names]
    unknown = [name for name in names if name not in (*COLUMNS, *OPTIONAL)]
    if missing or unknown:
        what = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
        raise InputError(
            f"{place}: {what}; give {', '.join(COLUMNS)} and, if you like, {', '.join(OPTIONAL)}"
        )


def _checked(row: Mapping[str, Any], place: str) -> dict[str, str]:
    kept = {k: v for k, v in row.items() if v is not None and v != ""}
    _require_columns(list(kept), place)
    for name, value in kept.items():
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{place}: {name} is {value!r}, expected a text that is not empty")
    require_verdict(kept["verdict"], f"{place}: ")
    if "time" in kept:
        try:
            datetime.fromisoformat(kept["time"])
        except ValueError:
            raise InputError(
                f"{place}: time {kept['time']!r} is not ISO 8601; write it as "
                "2026-01-31T12:00:00+00:00, or leave it out"
            ) from None
    return kept


def require_verdict(verdict: str, place: str = "") -> None:
    """Refuse a word that is no verdict.

    Raises:
        InputError: it is neither "accept" nor "reject".
    """
    if verdict not in VERDICTS:
        raise InputError(f"{place}verdict {verdict!r}: expected one of {', '.join(VERDICTS)}")
