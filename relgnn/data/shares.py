"""Parts of a set of sentences that keep the shares of its relations: splits, and few labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data.relations import Example, RelationData
from relgnn.data.tables import Problems, find_file, raise_first, read_json
from relgnn.errors import InputError

_NAME = re.compile(r"seed(\d+)_label(\d+)")


def few_labels(data: RelationData, folder: Path, percent: float, draw: int) -> RelationData:
    """A data set with a frozen share of its labels; the other sentences that it names lose theirs.

    Args:
        data: the whole.
        folder: has the subsets as a JSON object, `seed<S>_label<P>` to row numbers of train.
        percent: P.
        draw: which of the draws, from 0, in the order of S.

    Raises:
        InputError: there is no such subset or draw, or it does not fit the data.
    """
    path = find_file(folder, "subsets_generated_here.json", "subsets.json")
    problems = Problems()
    known = read_json(path, problems) if path is not None else None
    known = known if isinstance(known, dict) else {}
    raise_first(problems.all(), folder)
    found = [match for match in map(_NAME.fullmatch, known) if match]
    names = {int(match[1]): match[0] for match in found if int(match[2]) == percent}
    if not names:
        shares = sorted({int(match[2]) for match in found})
        raise InputError(
            f"{folder}: no subset with {percent:g} % of the labels; there are {shares or 'none'}"
        )
    if draw >= len(names):
        raise InputError(
            f"{folder}: data.split_seed is {draw}, and {len(names)} draws of {percent:g} % of the "
            f"labels are frozen; set it to one of 0 to {len(names) - 1}"
        )
    name = names[sorted(names)[draw]]
    labelled, unlabelled = (
        [data.train[i] for i in _rows(known[name], part, len(data.train), f"{path}: {name}")]
        for part in ("labelled", "unlabelled")
    )
    return replace(
        data, train=tuple(labelled),
        unlabelled=(*data.unlabelled, *(one._replace(relation=-1) for one in unlabelled)),
    )  # fmt: skip


def _rows(subset: Any, part: str, count: int, place: str) -> list[int]:
    rows = subset.get(part) if isinstance(subset, dict) else None
    if not isinstance(rows, list):
        raise InputError(
            f"{place} has no list of rows '{part}', expected 'labelled' and 'unlabelled'; draw the "
            "subsets anew"
        )
    wrong = next((i for i in rows if type(i) is not int or not 0 <= i < count), None)
    if wrong is not None:
        raise InputError(
            f"{place} names the row {wrong!r}, and train has rows 0 to {count - 1}; draw the "
            "subsets anew from this train"
        )
    return rows


def stratified(
    examples: Sequence[Example], share: float, generator: np.random.Generator
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split into a part with `share` of every relation's examples, and the rest.

    Examples of one group (sentence or document) go to the same side, so what a relation gets is
    off by a group at most. A relation with a single group stays in the rest.

    Args:
        examples: what to split.
        share: in (0, 1).
        generator: draws.

    Returns:
        the part and the rest, both in the order of `examples`.
    """
    part, rest = stratified_rows(examples, share, generator)
    return tuple(examples[i] for i in part), tuple(examples[i] for i in rest)


def stratified_rows(
    examples: Sequence[Example], share: float, generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Rows of the part and of the rest; see `stratified`."""
    groups: dict[str, list[int]] = {}
    for i, one in enumerate(examples):
        groups.setdefault(one.group or f"\0{i}", []).append(i)
    wanted = {
        relation: share * count
        for relation, count in Counter(one.relation for one in examples).items()
    }
    members = list(groups.values())
    taken: set[int] = set()
    have: Counter[int] = Counter()
    for index in generator.permutation(len(members)):
        own = Counter(examples[i].relation for i in members[index])
        # Take the group where that brings the counts nearer to what is wanted.
        gain = sum(abs(wanted[r] - have[r]) - abs(wanted[r] - have[r] - n) for r, n in own.items())
        if gain > 0:
            taken.update(members[index])
            have.update(own)
    return sorted(taken), [i for i in range(len(examples)) if i not in taken]
