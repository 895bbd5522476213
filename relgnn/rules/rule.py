"""Rules, and the file that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relgnn.errors import InputError
from relgnn.rules.adjacency import LONGEST, Body
from relgnn.training.checkpoint import save_text

COLUMNS = ("confidence", "pca_confidence", "support", "pairs", "rule")
ATOM = re.compile(r"\s*(.+?)\((\w+),\s*(\w+)\)\s*(?:,|$)")
VARIABLES = "xzwy"


class Rule(NamedTuple):
    """head(x, y) ← a path of relations from x to y.

    Args:
        head: relation in [0, R).
        body: directed relations from x to y.
        confidence: share of the pairs that the body connects that have the head relation too, with
            `rules.unseen` further pairs counted as wrong: support / (pairs + unseen).
        pca_confidence: the same over pairs of which something is known: under partial
            completeness whoever has one object of a relation has all of them given (Galárraga et
            al., AMIE, 2013).
        support: pairs that have both.
        pairs: pairs that the body connects, where they were counted.
    """

    head: int
    body: Body
    confidence: float
    pca_confidence: float
    support: int = 0
    pairs: int = 0

    def show(self, relations: Sequence[str]) -> str:
        """The rule in words, as a file of rules has it: "r(x, y) <- s(x, z), t(z, y)"."""
        names = [VARIABLES[0], *VARIABLES[1 : len(self.body)], VARIABLES[-1]]
        atoms = []
        for i, relation in enumerate(self.body):
            back, number = divmod(relation, len(relations))
            ends = (names[i + 1], names[i]) if back else (names[i], names[i + 1])
            atoms.append(f"{relations[number]}({ends[0]}, {ends[1]})")
        return f"{relations[self.head]}(x, y) <- {', '.join(atoms)}"


def write_rules(path: Path, rules: Iterable[Rule], relations: Sequence[str]) -> None:
    """Write a tab-separated file of rules, with a header of `COLUMNS`.

    Confidences are read back bit by bit: two of many pairs may differ in the seventh digit alone.

    Raises:
        MachineError: it cannot be written.
    """
    lines = ["\t".join(COLUMNS)]
    for one in rules:
        numbers = f"{one.confidence}\t{one.pca_confidence}\t{one.support}\t{one.pairs}"
        lines.append(f"{numbers}\t{one.show(relations)}")
    save_text(path, "\n".join(lines) + "\n")


def read_rules(path: Path, relations: Sequence[str]) -> list[Rule]:
    """Read rules that were mined or that a person wrote.

    A line is a confidence, a tab and the rule, such as "born_in(x, y) <- lives_in(x, y)"; a rule
    alone has confidence 1; with the header of `write_rules` a line has those columns. Variables may
    have any names; the atoms of a body are a path from the head's first to its second variable, in
    any order. Lines that start with # are left out.

    Args:
        path: UTF-8.
        relations: names that the rules may use.

    Raises:
        InputError: the file cannot be read, or a line is no such rule; the first is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the rules ({error}); give a UTF-8 file") from None
    number = {name: i for i, name in enumerate(relations)}
    found, header = [], False
    for line_number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split("\t")
        if tuple(parts) == COLUMNS:
            header = True
            continue
        try:
            found.append(_parse(parts, header, number))
        except InputError as error:
            raise InputError(f"{path} line {line_number}: {error}") from None
    return found


def _parse(parts: list[str], header: bool, number: Mapping[str, int]) -> Rule:
    confidence = pca = 1.0
    support = pairs = 0
    try:
        if header:
            confidence, pca = float(parts[0]), float(parts[1])
            support, pairs = int(parts[2]), int(parts[3])
        elif len(parts) > 1:
            confidence = pca = float(parts[0])
    except (ValueError, IndexError):
        raise InputError(
            f"{parts[0]!r} is no confidence; write a number from 0 to 1, a tab and the rule"
        ) from None
    if not (0 <= confidence <= 1 and 0 <= pca <= 1):
        raise InputError(f"confidence {confidence:g}: expected a number from 0 to 1")
    head, arrow, body = parts[-1].partition("<-")
    if not arrow:
        raise InputError(f"{parts[-1]!r}: expected 'r(x, y) <- s(x, z), t(z, y)'")
    heads = _atoms(head, number)
    if len(heads) != 1:
        raise InputError(f"{head.strip()!r}: expected one atom before '<-'")
    relation, start, end = heads[0]
    if start == end:
        raise InputError(f"{head.strip()!r}: its two variables must differ")
    return Rule(
        relation,
        _path(start, end, _atoms(body, number), len(number)),
        confidence,
        pca,
        support,
        pairs,
    )


def _atoms(text: str, number: Mapping[str, int]) -> list[tuple[int, str, str]]:
    """(relation, first variable, second variable) of each atom."""
    found, at = [], 0
    while at < len(text.rstrip()):
        atom = ATOM.match(text, at)
        if atom is None:
            raise InputError(f"{text[at:].strip()!r}: expected atoms such as 'born_in(x, y)'")
        name, one, other = atom.groups()
        if name not in number:
            raise InputError(f"relation {name!r} is not in the data; use its id in relations.tsv")
        found.append((number[name], one, other))
        at = atom.end()
    return found


def _path(start: str, end: str, atoms: list[tuple[int, str, str]], relations: int) -> Body:
    """The atoms ordered into a path from `start` to `end`."""
    body: list[int] = []
    left, at, seen = list(atoms), start, {start}
    while left:
        step = next((one for one in left if at in one[1:]), None)
        if step is None:
            break
        left.remove(step)
        relation, one, other = step
        body.append(relation if at == one else relation + relations)
        at = other if at == one else one
        if at in seen:
            break
        seen.add(at)
    if left or at != end or not 0 < len(body) <= LONGEST:
        raise InputError(
            f"the body is no path of 1 to {LONGEST} atoms from {start} to {end} that meets each "
            "variable once"
        )
    return tuple(body)
