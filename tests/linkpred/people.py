"""People whose text says where they were born and live, for what reads texts to predict links."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relgnn.config import BiEncoderConfig, load_run_config
from tests.text.toy import PEOPLE, TOWNS

BORN, LIVES, NEAR = "born", "lives", "near"
SETTINGS = """
data: {path: %s}
runtime: {device: cpu, threads: 1}
text: {model: %s}
biencoder: {epochs: 12, batch_size: 16, lr: 0.003, patience: null, dropout: 0.0}
"""


def write_people(folder: Path) -> Path:
    """Write 24 people with two names in eight towns, and return the folder.

    Everybody was born in one town and lives in another, as their descriptions say; an eighth of
    these triples is left for valid, and for test as many.
    """
    random = np.random.default_rng(0)
    entities, facts = [], []
    for number in range(24):
        person = f"{PEOPLE[number % 8]} {PEOPLE[(number + 1 + number // 8) % 8]}"
        born, home = random.choice(8, 2, replace=False)
        text = f"was born in {TOWNS[born]} and lives in {TOWNS[home]}"
        entities.append((f"p{number}", person, text))
        facts += [(f"p{number}", BORN, f"t{born}"), (f"p{number}", LIVES, f"t{home}")]
    entities += [(f"t{number}", town, "") for number, town in enumerate(TOWNS)]
    facts = [facts[place] for place in random.permutation(len(facts))]
    near = [(f"t{number}", NEAR, f"t{(number + 1) % 8}") for number in range(8)]
    splits = {"valid": facts[:6], "test": facts[6:12], "train": facts[12:] + near}
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        (folder / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    (folder / "entities.tsv").write_text("".join("\t".join(row) + "\n" for row in entities))
    names = ((BORN, "born in"), (LIVES, "lives in"), (NEAR, "far from"))
    (folder / "relations.tsv").write_text("".join(f"{one}\t{name}\n" for one, name in names))
    return folder


def biencoder_config(folder: Path, model: str, *changes: str) -> BiEncoderConfig:
    """A configuration that trains in a second."""
    path = folder.parent / "biencoder.yaml"
    path.write_text(SETTINGS % (folder, model), encoding="utf-8")
    config = load_run_config(path, changes)
    assert isinstance(config, BiEncoderConfig)
    return config
