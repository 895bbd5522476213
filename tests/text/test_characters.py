"""A model that reads characters: what its tokens are, what it keeps, and a run of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.config import RelationConfig, load_run_config
from relgnn.data.relations import Example
from relgnn.text import characters
from relgnn.text.characters import character_model, character_tokenizer
from relgnn.text.encoder import load_model
from relgnn.text.marking import HEAD, TAIL
from relgnn.text.reader import open_reader
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.text.rows import Marker

TEXTS = ["甲公司收购乙公司", "乙公司 收购Ａ公司", "a公司与甲公司"]


def test_a_token_is_a_character() -> None:
    tokenizer = character_tokenizer(TEXTS)
    # 与 stands in one text alone; Ａ, A and a are one
    assert set(tokenizer.get_vocab()) == {
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"甲乙公司收购a",
    }  # fmt: skip
    found = tokenizer("Ａ与 乙公", return_offsets_mapping=True)
    words = tokenizer.convert_ids_to_tokens(found["input_ids"])
    assert words == ["[CLS]", "a", "[UNK]", "乙", "公", "[SEP]"]
    assert found["offset_mapping"] == [(0, 0), (0, 1), (1, 2), (3, 4), (4, 5), (0, 0)]
    assert character_tokenizer([*TEXTS[::-1], *TEXTS]).get_vocab() == tokenizer.get_vocab()


def test_mentions_are_their_characters() -> None:
    tokenizer = character_tokenizer(TEXTS)
    rows = Marker(tokenizer, "special", 64).rows([Example(TEXTS[0], (0, 3), (5, 8), 0)])
    for role, name in ((HEAD, "甲公司"), (TAIL, "乙公司")):
        ids = rows.ids[rows.role == role].tolist()
        assert "".join(tokenizer.convert_ids_to_tokens(ids)) == name


def test_known_characters_keep_their_embeddings(tiny_bert: str) -> None:
    old, known = load_model(tiny_bert)
    texts = ["甲.", "甲乙.", "乙 : ,", ": ,"]
    generator = torch.Generator().manual_seed(0)
    network, tokenizer = character_model(texts, generator, tiny_bert)
    before, after = (x.get_input_embeddings().weight.detach() for x in (old, network))
    for token in (".", ":", ",", "[CLS]"):
        kept = before[known.get_vocab()[token]]
        torch.testing.assert_close(after[tokenizer.get_vocab()[token]], kept)
    drawn = after[[tokenizer.get_vocab()[c] for c in "甲乙"]]
    assert float(drawn.std()) == pytest.approx(float(before.std()), rel=0.4)
    layers = zip(old.encoder.parameters(), network.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in layers)


def test_a_run_learns_and_opens_with_its_own_characters(
    tmp_path: Path, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "PACKAGED", tiny_bert)
    data = tmp_path / "data"
    data.mkdir()
    (data / "relations.tsv").write_text("buys\nsells\n")
    names = "甲乙丙丁戊己"
    lines = []
    for a in names:
        for b in names.replace(a, ""):
            for verb, relation in (("收购", "buys"), ("出售", "sells")):
                ends = {"head": {"span": [0, 1]}, "tail": {"span": [3, 4]}}
                lines.append({"tokens": [a, *verb, b], **ends, "relation": relation})
    order = np.random.default_rng(0).permutation(len(lines)).tolist()
    for split, rows in (("train", order[:40]), ("valid", order[40:50]), ("test", order[50:])):
        text = "".join(json.dumps(lines[i]) + "\n" for i in rows)
        (data / f"{split}.jsonl").write_text(text)
    path = tmp_path / "run.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: characters, max_tokens: 16}}\n"
        "extraction: {epochs: 4, batch_size: 8, lr: 3.0e-3, head_lr: 1.0e-2}\n"
    )
    config = load_run_config(path)
    assert isinstance(config, RelationConfig)
    metrics = run_relations(config, tmp_path / "run")
    assert metrics["test"]["micro_f1"] > 0.9
    # other texts would make other characters: the run's own are what it opens with
    (data / "train.jsonl").write_text(json.dumps(lines[0]) + "\n" + json.dumps(lines[1]) + "\n")
    reader = open_reader(tmp_path / "run")
    assert {"收", "售", "己"} <= set(reader.marker.tokenizer.get_vocab())
    again = evaluate_run(tmp_path / "run", "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})
