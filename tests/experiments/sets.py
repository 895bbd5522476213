"""The data sets that configurations name, as toys: their own formats and labels, tiny content."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tests import ogb_sets
from tests.experiments.tiny import (
    PEOPLE,
    TOWNS,
    write_tiny,
    write_tiny_documents,
    write_tiny_joint,
)
from tests.linkpred.families import write_families

LABELS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("labels.json").read_text(encoding="utf-8")
)
"""Data set of relation extraction -> its labels, in the order of its relations.tsv."""

GRAIL = {"fb237": "fb15k237", "WN18RR": "wn18rr"}
"""Start of a graph's name -> the data set that it takes its names from."""
VERSIONS = (1, 2, 3, 4)

OGB_SETS = {
    "ogbl_ddi": ogb_sets.write_ddi, "ogbl_collab": ogb_sets.write_collab,
    "ogbl_citation2": ogb_sets.write_citation, "ogbl_biokg": ogb_sets.write_biokg,
    "ogbl_wikikg2": ogb_sets.write_wikikg, "ogbn_arxiv": ogb_sets.write_arxiv,
}  # fmt: skip
"""Data set of OGB -> what writes a small one."""

LABELLED = 36
"""Sentences of a training part at least: two batches, and a few."""
PERCENTS = (5, 10, 30)
DRAWS = 5


def write_sets(root: Path) -> Path:
    """Write all of them below `root`, as in a folder of real data sets, and return it."""
    for name in ("codex_s", "codex_m", *GRAIL.values()):
        write_tiny(root / name)
    _freeze_fractions(root / "codex_s")
    for name, labels in LABELS.items():
        _write_labels(root / name, labels)
    for name in sorted(LABELS.keys() - {"fewrel", "redocred"}):
        _write_sentences(root / name, LABELS[name])
    _freeze_subsets(root / "semeval2010_fewlabel")
    write_tiny_joint(root / "conll04", "Live_In", "Work_For")
    write_tiny_documents(root / "redocred", "P19", "P551")
    _write_split(root / "fewrel" / "valid.jsonl", LABELS["fewrel"], 12, 0)
    for prefix, source in GRAIL.items():
        for version in VERSIONS:
            _write_grail(root / "grail_inductive" / f"{prefix}_v{version}", root / source)
    for name, write in OGB_SETS.items():
        (root / name).symlink_to(write(root / "written" / name))
    return root


def _write_labels(folder: Path, labels: list[str]) -> None:
    folder.mkdir(parents=True)
    rows = [f"{label}\t{label.lower()} in words\twhat {label} says\n" for label in labels]
    (folder / "relations.tsv").write_text("".join(rows), encoding="utf-8")


def _write_sentences(folder: Path, labels: list[str]) -> None:
    repeats = math.ceil(LABELLED / len(labels))
    _write_split(folder / "train.jsonl", labels, repeats + 1, 0)
    for place, split in enumerate(("valid", "test"), start=1):
        _write_split(folder / f"{split}.jsonl", labels, 1, place)


def _write_split(path: Path, labels: list[str], repeats: int, shift: int) -> None:
    """So many sentences of every label; splits of different `shift` share none."""
    lines = []
    for repeat in range(repeats):
        for number, label in enumerate(labels):
            person = PEOPLE[(number + repeat) % 8]
            town = TOWNS[(number + number // 8 + repeat // 8 + 3 * shift) % 8]
            tokens = ["The", "painter", person, "saw", label, repeat * "far ", town, "."]
            tokens = [token.strip() for token in tokens if token.strip()]
            lines.append(json.dumps({
                "tokens": tokens,
                "head": {"span": [2, 3], "type": "PER", "text": person},
                "tail": {"span": [len(tokens) - 2, len(tokens) - 1], "type": "LOC", "text": town},
                "relation": label,
            }, ensure_ascii=False))  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _freeze_fractions(folder: Path) -> None:
    """Half of the triples stands for a tenth: a tenth of a toy is nothing."""
    counts = {
        split: len((folder / f"{split}.tsv").read_text().splitlines())
        for split in ("train", "valid")
    }
    rows = {split: list(range(0, count, 2)) for split, count in counts.items()}
    draws = {f"{percent}/{draw}": rows for percent in (10, 30) for draw in range(DRAWS)}
    (folder / "fractions.json").write_text(json.dumps(draws))


def _freeze_subsets(folder: Path) -> None:
    """All sentences but the last of each label keep it, whatever the percentage."""
    labels = len(LABELS[folder.name])
    total = len((folder / "train.jsonl").read_text().splitlines())
    subset = {
        "labelled": list(range(total - labels)),
        "unlabelled": list(range(total - labels, total)),
    }
    found = {f"seed{draw}_label{p}": subset for draw in range(DRAWS) for p in PERCENTS}
    (folder / "subsets_generated_here.json").write_text(json.dumps(found))


def _write_grail(folder: Path, source: Path) -> None:
    """A graph and its unseen one; what they are made of joins the names of their source."""
    write_families(folder, 20, 24)
    for graph in (folder, folder.with_name(f"{folder.name}_ind")):
        for path in list(graph.glob("*.tsv")):
            if path.stem != "relations":
                path.rename(path.with_suffix(".txt"))
    known = [
        *PEOPLE,
        *TOWNS,
        *(f"{tree}{i}" for tree, n in (("a", 20), ("b", 24)) for i in range(n)),
    ]
    (source / "entities.tsv").write_text("".join(f"{one}\t{one}\t\n" for one in known))
    relations = ("born", "lives", "knows", "near", "parent", "grandparent")
    (source / "relations.tsv").write_text("".join(f"{one}\t{one}\t\n" for one in relations))
