"""A data set of eight people in eight towns that a configuration runs through in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PEOPLE = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hedy")
TOWNS = ("Bonn", "Cork", "Lund", "Nice", "Oslo", "Pisa", "Riga", "York")

SPLITS = ("train", "valid", "test", "unlabelled")

SMALL = (
    "data.name=null", "data.fraction=0.5", "text.max_tokens=32",
    "decoder.dim=8", "train.epochs=1", "train.batch_size=16", "train.eval_every=1",
)  # fmt: skip
SMALL_LOOP = (
    "loop.rounds=1", "loop.folds=2", "loop.candidates=200", "loop.implied=8",
    "loop.extractor.max_candidates=20", "loop.extractor.epochs=1",
)  # fmt: skip

SMALL_RELATIONS = (
    "data.name=null", "data.fraction=1.0", "data.negatives=null", "text.max_tokens=32",
    "extraction.epochs=1",
)  # fmt: skip


def write_tiny_relations(
    folder: Path, born: str = "born", lives: str = "lives", shift: int = 0
) -> Path:
    """Write marked sentences that say who was born and who lives where, and return the folder.

    Two folders whose `shift` is 4 apart share no sentence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "relations.tsv").write_text(f"{born}\n{lives}\nOther\n")
    verbs = {born: ["was", "born", "in"], lives: ["lives", "now", "in"], "Other": ["saw"]}
    for place, split in enumerate(SPLITS, shift):
        lines = []
        for i, person in enumerate(PEOPLE):
            for relation, verb in verbs.items():
                tokens = [person, *verb, TOWNS[(i + place) % 8], "."]
                ends = {
                    "head": {"span": [0, 1]},
                    "tail": {"span": [len(tokens) - 2, len(tokens) - 1]},
                }
                lines.append(json.dumps({"tokens": tokens, **ends, "relation": relation}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def write_tiny_joint(folder: Path, born: str = "born", lives: str = "lives") -> Path:
    """Write sentences that say where one person was born and another lives, and return the folder.

    Each has four mentions and two relations; nothing relates the first person to the second town.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_two(folder, born, lives)
    kinds = ("PER", "LOC", "PER", "LOC")
    spans = ([0, 1], [4, 5], [6, 7], [10, 11])
    entities = [{"span": s, "type": kind} for s, kind in zip(spans, kinds, strict=True)]
    for split, shifts in (("train", range(6)), ("dev", (6,)), ("test", (7,))):
        lines = []
        for i, person in enumerate(PEOPLE):
            for shift in shifts:
                town, other = TOWNS[(i + shift) % 8], PEOPLE[(i + shift + 1) % 8]
                home, turned = TOWNS[(3 * i + shift) % 8], (i + shift) % 2
                verbs = (["was", "born", "in"], ["lives", "now", "in"])
                first, second = verbs[::-1] if turned else verbs
                tokens = [person, *first, town, "and", other, *second, home, "."]
                labels = (lives, born) if turned else (born, lives)
                stated = [{"head": 2 * k, "tail": 2 * k + 1, "type": labels[k]} for k in (0, 1)]
                line = {"tokens": tokens, "entities": entities, "relations": stated}
                lines.append(json.dumps(line) + "\n")
        (folder / f"{split}.sentences.jsonl").write_text("".join(lines))
    return folder


def write_tiny_documents(folder: Path, born: str = "P1", lives: str = "P2") -> Path:
    """Write documents that say where a person was born and lives, and return the folder.

    The person is named in both sentences, and each town in one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_two(folder, born, lives)

    def place(sentence: int, word: int, kind: str) -> dict[str, object]:
        return {"sent_id": sentence, "pos": [word, word + 1], "type": kind}

    for split, shifts in (("dev", range(3)), ("test", (3, 4))):
        found = []
        for i, person in enumerate(PEOPLE):
            for shift in shifts:
                birth, home = TOWNS[(i + shift) % 8], TOWNS[(i + shift + 3) % 8]
                found.append({
                    "title": person,
                    "sents": [[person, "was", "born", "in", birth, "."],
                              [person, "lives", "now", "in", home, "."]],
                    "vertexSet": [[place(0, 0, "PER"), place(1, 0, "PER")],
                                  [place(0, 4, "LOC")], [place(1, 4, "LOC")]],
                    "labels": [{"h": 0, "t": 1, "r": born}, {"h": 0, "t": 2, "r": lives}],
                })  # fmt: skip
        (folder / f"{split}_revised.json").write_text(json.dumps(found))
    return folder


def _write_two(folder: Path, born: str, lives: str) -> None:
    """Names of two relations, where no file tells them and others yet."""
    path = folder / "relations.tsv"
    if not path.exists():
        path.write_text(f"{born}\tborn in\tborn\n{lives}\tlives in\tlives\n")


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
