"""A user's own folder: twenty people, ten towns, what is known of them and a page of each."""

from __future__ import annotations

import json
from pathlib import Path

PEOPLE = (
    "Ada Abel, Ben Bolt, Cleo Carr, Dora Dean, Emil Eck, Fay Finn, Gus Gray, Hedy Hall, Ida Irwin, "
    "Jon Judd, Kai Kent, Lea Lamb, Max Mead, Nora Nash, Otto Orr, Pia Penn, Rita Reed, Sam Stone, "
    "Tess Todd, Uma Urban"
).split(", ")
TOWNS = "Aachen Bern Cork Delft Essen Fargo Genoa Hull Izmir Jena".split()
SENTENCES = {
    "born": "{} was born in {}.",
    "lives": "{} lives in {} today.",
    "knows": "{} has been a friend of {} for years.",
}
CONFIG = """\
data: {path: %s}
gnn: {bases: 2}
decoder: {kind: distmult, dim: 16}
train: {epochs: 6, batch_size: 64, eval_every: 2, patience: null}
loop:
  rounds: 1
  folds: 2
  implied: 40
  precision: 0.1
  min_probability: 0.01
  controls: [read]
  extractor: {epochs: 1, layers: 1, max_candidates: 60}
runtime: {device: cpu, precision: fp32, threads: 1}
"""


def write_data(folder: Path) -> Path:
    """The folder in the standard format; returns it."""
    folder.mkdir(parents=True)
    entities = [*PEOPLE, *TOWNS]
    ids = {name: f"e{number}" for number, name in enumerate(entities)}
    facts, texts = [], []
    for i, person in enumerate(PEOPLE):
        own = [
            ("born", TOWNS[i % 10]),
            ("lives", TOWNS[(3 * i + 1 + i // 10) % 10]),
            ("knows", PEOPLE[(7 * i + 3) % 20]),
        ]
        facts += [(person, relation, other) for relation, other in own]
        said = " ".join(SENTENCES[relation].format(person, other) for relation, other in own)
        texts.append({"id": f"page {i}", "text": said, "entity": ids[person]})
    texts.append({"id": "note", "text": "Ada Abel met Ben Bolt in Cork. Nobody saw it."})
    # Two thirds for training; the others in turn, so that every relation is in every split.
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for number, (head, relation, tail) in enumerate(facts):
        split = {4: "valid", 8: "test"}.get(number % 9, "train")
        split = "test" if number % 9 == 1 else split
        splits[split].append(f"{ids[head]}\t{relation}\t{ids[tail]}\n")
    for split, lines in splits.items():
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    kinds = ["a person"] * len(PEOPLE) + ["a town"] * len(TOWNS)
    (folder / "entities.tsv").write_text(
        "".join(f"{ids[n]}\t{n}\t{kind}\n" for n, kind in zip(entities, kinds, strict=True)),
        encoding="utf-8",
    )
    (folder / "relations.tsv").write_text(
        "born\tborn in\t\nlives\tlives in\t\nknows\tfriend of\t\n", encoding="utf-8"
    )
    (folder / "texts.jsonl").write_text(
        "".join(f"{json.dumps(text)}\n" for text in texts), encoding="utf-8"
    )
    return folder


def write_config(path: Path, data: Path) -> Path:
    """A configuration that trains on `data` in seconds, with a round of the loop."""
    path.write_text(CONFIG % data, encoding="utf-8")
    return path


def append(path: Path, line: str | bytes) -> None:
    """Add a line, or bytes that are none, to a file."""
    path.write_bytes(path.read_bytes() + (line if isinstance(line, bytes) else line.encode()))
