"""A data set of eight people in eight towns that a configuration runs through in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PEOPLE = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hedy")
TOWNS = ("Bonn", "Cork", "Lund", "Nice", "Oslo", "Pisa", "Riga", "York")

SMALL = (
    "data.name=null", "data.fraction=0.5", "text.max_tokens=32",
    "decoder.dim=8", "train.epochs=1", "train.batch_size=16", "train.eval_every=1",
)  # fmt: skip
SMALL_LOOP = (
    "loop.rounds=1", "loop.folds=2", "loop.candidates=200", "loop.implied=8",
    "loop.extractor.max_candidates=20", "loop.extractor.epochs=1",
)  # fmt: skip

SMALL_RELATIONS = (
    "data.name=null", "data.fraction=1.0", "text.max_tokens=32", "extraction.epochs=1",
)  # fmt: skip


def write_tiny_relations(folder: Path) -> Path:
    """Write marked sentences that say who was born and who lives where, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "relations.tsv").write_text("born\nlives\nOther\n")
    verbs = {"born": ["was", "born", "in"], "lives": ["lives", "now", "in"], "Other": ["saw"]}
    for split, shift in (("train", 0), ("valid", 1), ("test", 2), ("unlabelled", 3)):
        lines = []
        for i, person in enumerate(PEOPLE):
            for relation, verb in verbs.items():
                tokens = [person, *verb, TOWNS[(i + shift) % 8], "."]
                ends = {
                    "head": {"span": [0, 1]},
                    "tail": {"span": [len(tokens) - 2, len(tokens) - 1]},
                }
                lines.append(json.dumps({"tokens": tokens, **ends, "relation": relation}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def write_tiny(folder: Path) -> Path:
    """Write the folder, strata and all, and return it."""
    random = np.random.default_rng(0)
    facts, pages, strata = [], [], []
    for i, person in enumerate(PEOPLE):
        born, home, friend = TOWNS[i], TOWNS[(3 * i + 1) % 8], PEOPLE[(i + 1) % 8]
        facts += [(person, "born", born), (person, "lives", home), (person, "knows", friend)]
        pages.append((person, f"{person} was born in {born}. Today the home is {home}."))
    for i, town in enumerate(TOWNS):
        facts += [(town, "near", TOWNS[(i + 1) % 8]), (town, "near", TOWNS[(i + 2) % 8])]
        pages.append((town, f"{town} is a town. It is near {TOWNS[(i + 1) % 8]}."))
    order = random.permutation(len(facts)).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", order[:28]), ("valid", order[28:34]), ("test", order[34:])):
        lines = [facts[row] for row in rows]
        (folder / f"{split}.tsv").write_text("".join("\t".join(x) + "\n" for x in lines))
        kinds = ("feature", "corpus", "none")
        strata += [(split, *x, kinds[row % 3]) for row, x in zip(rows, lines, strict=True)]
    (folder / "strata.tsv").write_text("".join("\t".join(x) + "\n" for x in strata))
    texts = [json.dumps({"id": name, "text": text, "entity": name}) for name, text in pages]
    (folder / "texts.jsonl").write_text("\n".join(texts) + "\n")
    return folder
