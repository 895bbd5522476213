"""Joint extraction: its input, its model's invariances, and runs from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel

from relgnn.config import JointConfig, load_run_config
from relgnn.config.joint import JointSettings
from relgnn.data.joint import Annotated, Mention, Stated, read_joint
from relgnn.errors import InputError
from relgnn.runtime import torch_rng
from relgnn.text.encoder import load_model
from relgnn.text.joint import Found, JointModel, extract
from relgnn.text.joint_rows import (
    CAPITAL,
    DIGITS,
    LOWER,
    OTHER,
    UPPER,
    Sentences,
    shape_of,
    tokenise,
)  # fmt: skip
from relgnn.text.joint_run import JointTask, best_threshold, joint_scores
from relgnn.text.runs import evaluate_text, run_text
from relgnn.training import load_json
from tests.experiments.tiny import write_tiny_joint
from tests.text.stopping import lasting, stopped_and_resumed

SHORT = Annotated(
    ("Ada", "was", "born", "in", "Bonn"), (Mention(0, 1, 1), Mention(4, 5, 0)), (Stated(0, 1, 0),)
)
LONG = Annotated(
    ("the", "painter", "Ben", "saw", "Cleo", "far", "away", "from", "York", "."),
    (Mention(0, 3, 1), Mention(4, 5, 1), Mention(8, 9, 0)), (Stated(0, 2, 1), Stated(1, 2, 1)),
)  # fmt: skip


def made(tiny_bert: str, max_tokens: int = 64, **changes: Any) -> tuple[JointModel, Sentences]:
    network, tokenizer = load_model(tiny_bert)
    torch.manual_seed(0)
    model = JointModel(network, 2, 2, JointSettings(longest=4, **changes)).eval()
    return model, tokenise([SHORT, LONG], tokenizer, max_tokens)


def test_spans_and_their_classes(tiny_bert: str) -> None:
    batch = made(tiny_bert)[1].batch(torch.tensor([1, 0]))
    spans = batch.spans(4)
    words = [(s, a, b) for s, n in ((0, 10), (1, 5)) for a in range(n)
             for b in range(a + 1, min(a + 4, n) + 1)]  # fmt: skip
    first = (0, 10)
    assert spans.tolist() == [[a + first[s], b + first[s]] for s, a, b in words]
    classes = batch.classes(spans, 4).tolist()
    named = {w: c for w, c in zip(words, classes, strict=True) if c}
    assert named == {(0, 0, 3): 2, (0, 4, 5): 2, (0, 8, 9): 1, (1, 0, 1): 2, (1, 4, 5): 1}
    # a mention of three words is no class where two is the longest
    shorter = batch.spans(2)
    assert int((batch.classes(shorter, 2) > 0).sum()) == 4
    assert batch.relations.tolist() == [[0, 2, 1], [1, 2, 1], [3, 4, 0]]


def test_words_are_where_their_tokens_are(tiny_bert: str) -> None:
    tokenizer = load_model(tiny_bert)[1]
    batch = made(tiny_bert)[1].batch(torch.tensor([0, 1]))
    for word, (start, end) in zip((*SHORT.words, *LONG.words), batch.words.tolist(), strict=True):
        assert tokenizer.decode(batch.ids.flatten()[start:end]) == word


def test_shapes_and_drawn_spans(tiny_bert: str) -> None:
    said = {"Ada": CAPITAL, "A": CAPITAL, "UN": UPPER, "far": LOWER, "B52": DIGITS, ",": OTHER}
    assert {piece: shape_of(piece) for piece in said} == said
    batch = made(tiny_bert)[1].batch(torch.tensor([0, 1]))
    assert batch.shape[0].tolist()[:7] == [0, CAPITAL, LOWER, LOWER, LOWER, CAPITAL, 0]
    assert not batch.shape[0, 7:].any()
    spans = batch.spans(4)
    classes = batch.classes(spans, 4)
    kept = [batch.thinned(spans, classes, 6, torch_rng("spans", seed)) for seed in (0, 0, 1)]
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])
    assert kept[0][classes > 0].all()
    many = [batch.thinned(spans, classes, 6, torch_rng("spans", i)) for i in range(200)]
    share = torch.stack(many).float().mean(0)
    first = batch.sentence[spans[:, 0]] == 0
    for one in (first, ~first):
        assert float(share[one & (classes == 0)].sum()) == pytest.approx(6, abs=0.6)
    assert batch.thinned(spans, classes, 1000, torch_rng("spans", 0)).all()


def test_what_is_beyond_the_longest_row_is_left_out(tiny_bert: str) -> None:
    rows = made(tiny_bert, max_tokens=8)[1]
    assert rows.lengths.tolist() == [7, 8]
    assert rows.word_offsets.tolist() == [0, 5, 11]
    assert rows.mentions.tolist() == [[0, 1, 1], [4, 5, 0], [0, 3, 1], [4, 5, 1]]
    assert rows.relations.tolist() == [[0, 1, 0]]


def test_a_word_without_tokens_shares_the_one_before_it(tiny_bert: str) -> None:
    tokenizer = load_model(tiny_bert)[1]
    one = Annotated(("Ada", " ", "saw"), (Mention(1, 2, 0),), ())
    assert tokenise([one], tokenizer, 16).words.tolist() == [[1, 2], [1, 2], [2, 3]]


def test_a_batch_is_its_sentences_one_by_one(tiny_bert: str, device: torch.device) -> None:
    model, rows = made(tiny_bert)
    model.to(device)

    def read(*sentences: int) -> tuple[torch.Tensor, torch.Tensor]:
        batch = rows.batch(torch.tensor(sentences), device)
        reading = model.read(batch)
        pairs = model.pairs(batch, reading, batch.mentions)[1]
        return model.spans(batch, reading, batch.spans(4)), pairs

    with torch.no_grad():
        both, first, second = read(0, 1), read(0), read(1)
    for whole, a, b in zip(both, first, second, strict=True):
        torch.testing.assert_close(whole, torch.cat([a, b]), rtol=1e-4, atol=1e-5)


def test_found_mentions_do_not_overlap_and_pairs_are_all(tiny_bert: str) -> None:
    model, rows = made(tiny_bert)
    with torch.no_grad():
        model.span[-1].bias[0] -= 1.0  # names something nearly everywhere
    found = extract(model, rows, batch_size=2)
    again = extract(model, rows, batch_size=1)
    for one, other, sentence in zip(found, again, (SHORT, LONG), strict=True):
        taken = [w for start, end, _ in one.mentions for w in range(start, end)]
        assert len(taken) == len(set(taken)) > 0
        assert max(taken) < len(sentence.words)
        several = range(len(one.mentions))
        assert {tuple(p) for p in one.pairs.tolist()} == {
            (i, j) for i in several for j in several if i != j
        }
        assert one.mentions == other.mentions
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_the_direction_of_a_pair_is_told(tiny_bert: str) -> None:
    model, rows = made(tiny_bert)
    batch = rows.batch(torch.tensor([0]))
    alike = batch.mentions.clone()
    alike[:, 2] = 0
    with torch.no_grad():
        _, logits = model.pairs(batch, model.read(batch), alike)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_the_loss_is_that_of_the_written_out_sums(tiny_bert: str) -> None:
    model, rows = made(tiny_bert, dropout=0.0)
    task = JointTask(model, rows, None, 2, model.settings)
    batch = rows.batch(torch.tensor([0, 1]))
    with torch.no_grad():
        loss = task.loss(torch.tensor([0, 1]), torch.Generator())
        reading = model.read(batch)
        spans = batch.spans(4)
        logits = model.spans(batch, reading, spans).log_softmax(1)
        named = {(0, 1): 2, (4, 5): 1, (5, 8): 2, (9, 10): 2, (13, 14): 1}
        wanted = [named.get((a, b), 0) for a, b in spans.tolist()]
        first = -sum(float(row[c]) for row, c in zip(logits, wanted, strict=True)) / len(spans)
        pairs, scores = model.pairs(batch, reading, batch.mentions)
        stated = {(0, 1, 0), (2, 4, 1), (3, 4, 1)}
        second = [
            -float(torch.nn.functional.logsigmoid(s if (h, t, r) in stated else -s))
            for (h, t), row in zip(pairs.tolist(), scores, strict=True)
            for r, s in enumerate(row)
        ]
    assert float(loss) == pytest.approx(first + sum(second) / len(second), rel=1e-5)


def test_scores_of_a_worked_example() -> None:
    truth = [SHORT, LONG]
    high, low = np.array([[0.9, 0.2]]), np.array([[0.1, 0.6]])
    found = [
        Found(SHORT.mentions, np.array([[0, 1]]), high),
        # the first mention is cut short, so that its relation is not the true one
        Found((Mention(1, 3, 1), *LONG.mentions[1:]), np.array([[0, 2], [1, 2]]),
              np.concatenate([low, low])),
    ]  # fmt: skip
    scores = joint_scores(truth, found, 0.5, 2)
    # said: born once (right), lives twice (one right); true: born once, lives twice
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((1 + 1 / 2) / 2)
    assert scores["entity_micro_f1"] == pytest.approx(4 / 5)
    assert joint_scores(truth, found, 0.7, 2)["micro_f1"] == pytest.approx(2 / (1 + 3))
    assert best_threshold(truth, found, 2) == pytest.approx(0.25)


def test_a_mention_of_a_kind_that_the_truth_lacks_is_false() -> None:
    truth = [Annotated(("Ada", "saw"), (Mention(0, 1, 0),), ())]
    said = Found((Mention(0, 1, 0), Mention(1, 2, 1)), np.empty((0, 2), int), np.empty((0, 1)))
    scores = joint_scores(truth, [said], 0.5, 1)
    assert scores["entity_micro_f1"] == pytest.approx(2 / 3)
    assert scores["entity_macro_f1"] == pytest.approx(1 / 2)


def config(data: Path, model: str, *changes: str) -> JointConfig:
    path = data.parent / "toy.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {model}, max_tokens: 32}}\n"
        "joint: {epochs: 7, batch_size: 4, lr: 1.0e-3, head_lr: 1.0e-2, longest: 3}\n"
    )
    found = load_run_config(path, changes)
    assert isinstance(found, JointConfig)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_joint(tmp_path / "tiny")


def test_it_learns_refits_resumes_and_is_measured_again(
    data: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(data, tiny_bert, "joint.refit=true")
    whole = run_text(settings, tmp_path / "run")
    assert whole["test"]["micro_f1"] > 0.8
    assert whole["test"]["entity_micro_f1"] > 0.9
    assert whole == load_json(tmp_path / "run" / "metrics.json")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    valid = [entry["valid"]["micro_f1"] for entry in log if entry["valid"]]
    assert whole["epoch"] == 1 + valid.index(max(valid))
    assert {entry["task"] for entry in log} == {"joint extraction", "joint extraction, refit"}
    assert evaluate_text(tmp_path / "run", "test") == pytest.approx(whole["test"])
    with pytest.raises(InputError, match="holds a run already"):
        run_text(settings, tmp_path / "run")

    resumed = stopped_and_resumed(run_text, settings, tmp_path / "part", monkeypatch)
    assert resumed == lasting(whole)


def test_a_step_that_draws_no_span_has_no_loss_of_spans(tiny_bert: str) -> None:
    network, tokenizer = load_model(tiny_bert)
    settings = JointSettings(longest=4, negatives=1)
    model = JointModel(network, 2, 2, settings).eval()
    rows = tokenise([LONG._replace(mentions=(), relations=())], tokenizer, 64)
    task = JointTask(model, rows, None, 2, settings)
    losses = [task.loss(torch.tensor([0]), torch_rng("spans", seed)) for seed in range(12)]
    assert all(bool(torch.isfinite(loss)) for loss in losses)
    nothing = [loss for loss in losses if float(loss.detach()) == 0]
    assert nothing and len(nothing) < len(losses)
    nothing[0].backward()


def test_embeddings_may_be_narrower_than_states(tiny_bert: str) -> None:
    tokenizer = load_model(tiny_bert)[1]
    network = AlbertModel(AlbertConfig(
        vocab_size=len(tokenizer), embedding_size=16, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=96,
    ))  # fmt: skip
    model = JointModel(network, 2, 2, JointSettings(longest=4))
    assert len(extract(model, tokenise([SHORT, LONG], tokenizer, 64))) == 2


@pytest.mark.parametrize(("split", "told"), [
    ("dev", "has 48 training, 0 validation and 8 test sentences"),
    ("test", "has 48 training, 8 validation and 0 test sentences"),
])  # fmt: skip
def test_an_empty_part_is_refused_before_anything_is_trained(
    data: Path, tiny_bert: str, tmp_path: Path, split: str, told: str
) -> None:
    (data / f"{split}.sentences.jsonl").write_text("")
    with pytest.raises(InputError, match=told):
        run_text(config(data, tiny_bert), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be(data: Path, tiny_bert: str, tmp_path: Path) -> None:
    for change, told in (("data.fraction=0.5", "no subsets"), ("text.model=/no/where", "loaded")):
        with pytest.raises(InputError, match=told):
            run_text(config(data, tiny_bert, change), tmp_path / "run")
        assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    with pytest.raises(InputError, match="did you mean 'joint.longest'"):
        config(data, tiny_bert, "joint.longst=3")


def test_the_tiny_data_have_what_the_runs_need(data: Path) -> None:
    found = read_joint(data)
    train = {one.words for one in found.train}
    assert not train & {one.words for one in (*found.valid, *found.test)}
