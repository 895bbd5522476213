"""Two family trees without a person in common, in which grandparents follow from parents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

PARENT, GRANDPARENT = "parent", "grandparent"


def write_families(folder: Path, people: int = 40, unseen: int = 50) -> Path:
    """Write a tree, and another beside it as `<folder>_ind`; returns the folder.

    A quarter of the grandparents is left for valid and test.
    """
    _write(folder, "a", people, (PARENT, GRANDPARENT))
    _write(folder.with_name(f"{folder.name}_ind"), "b", unseen, (GRANDPARENT, PARENT))
    return folder


def _write(folder: Path, prefix: str, people: int, relations: tuple[str, ...]) -> None:
    def facts(relation: str, ancestors: list[tuple[int, int]]) -> list[str]:
        return [f"{prefix}{one}\t{relation}\t{prefix}{other}\n" for one, other in ancestors]

    parents = facts(PARENT, [(one, (one - 1) // 2) for one in range(1, people)])
    old = facts(GRANDPARENT, [(one, (one - 3) // 4) for one in range(3, people)])
    old = [old[place] for place in np.random.default_rng(0).permutation(len(old))]
    held = len(old) // 8
    splits = {
        "valid": old[:held],
        "test": old[held : 2 * held],
        "train": parents + old[2 * held :],
    }
    folder.mkdir(parents=True)
    for split, lines in splits.items():
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    # the order of relations, and so their numbers, differ between the two
    (folder / "relations.tsv").write_text("".join(f"{one}\t{one}\n" for one in relations))
