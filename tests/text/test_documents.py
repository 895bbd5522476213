"""Relations of documents' entities: matched to descriptions, counted by type, and tuned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from relgnn.config import DocumentConfig, load_run_config
from relgnn.config.document import DocumentTuning
from relgnn.data.documents import Document, DocumentData, Entity, Fact, Place, read_documents
from relgnn.errors import InputError
from relgnn.ranking.documents import facts_of
from relgnn.text.document_fit import DocumentTask, judged
from relgnn.text.document_model import (
    DocumentModel,
    batch_of,
    tokenise_document,
)
from relgnn.text.documents import compete, match, match_types, pool, standardised
from relgnn.text.encoder import TextEncoder, load_model
from relgnn.text.runs import evaluate_text, run_text
from relgnn.training import load_json
from tests.experiments.tiny import write_tiny_documents
from tests.text.stopping import lasting, stopped_and_resumed

KINDS = ("LOC", "PER")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DocumentData:
    monkeypatch.setenv("RELGNN_CACHE", str(tmp_path / "cache"))
    return read_documents(write_tiny_documents(tmp_path / "tiny"))


def test_scores_follow_the_order_of_the_entities(data: DocumentData, tiny_bert: str) -> None:
    one = data.valid[0]
    turned = one._replace(entities=one.entities[::-1])
    encoder = TextEncoder(tiny_bert)
    types = match_types(data, KINDS, encoder)
    first, second = (match([x], data, KINDS, encoder, 1) for x in (one, turned))
    a, b = (pool(standardised(x, first, types, 1.0), x, 0.5) for x in (first, second))
    back = [turned.pairs.index((2 - h, 2 - t)) for h, t in one.pairs]
    torch.testing.assert_close(a, b[back], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(a, b, atol=1e-1)


def test_mentions_are_read_together_within_the_distance(data: DocumentData, tiny_bert: str) -> None:
    encoder = TextEncoder(tiny_bert)
    near, far = (match(data.valid[:2], data, KINDS, encoder, d) for d in (0, 1))
    # pairs of (person, birthplace, home): both towns never stand in one sentence
    assert sorted(near.pair.tolist()) == sorted([0, 1, 2, 4, 6, 7, 8, 10])
    # with the neighbour, each town also meets the person's other mention, and the other town
    assert len(far.pair) == 2 * (4 + 4 + 2)
    assert set(far.pair.tolist()) == set(range(12))
    scores = pool(near.between, near, 1.0)
    assert torch.isinf(scores[[3, 5, 9, 11]]).all()
    assert torch.isfinite(scores[[0, 1, 2, 4]]).all()


def test_the_pool_is_between_the_maximum_and_the_sum(data: DocumentData, tiny_bert: str) -> None:
    found = match(data.valid[:3], data, KINDS, TextEncoder(tiny_bert), 1)
    largest = torch.stack([
        found.between[found.pair == i].amax(0) for i in range(found.pairs)
    ])  # fmt: skip
    torch.testing.assert_close(pool(found.between, found, 1e-4), largest, rtol=1e-3, atol=1e-3)
    assert (pool(found.between, found, 1.0) >= largest - 1e-6).all()


def config(data: Path, model: str, *changes: str) -> DocumentConfig:
    path = data.parent / "toy.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {model}, max_tokens: 32}}\n"
        "document: {tuning: {epochs: 7, batch_size: 2, lr: 1.0e-3, head_lr: 1.0e-2, block: 16}}\n"
    )
    found = load_run_config(path, changes)
    assert isinstance(found, DocumentConfig)
    return found


def test_relations_compete_for_a_pair() -> None:
    scores = torch.tensor([[2.0, 2.0, 2.0], [2.0, -1.0, -1.0], [-torch.inf] * 3])
    found = compete(scores)
    assert found[1, 0] > found[0, 0]  # alone with its relation
    torch.testing.assert_close(found[0], torch.full((3,), 2 - torch.tensor(3.0).log().item()))
    assert torch.isinf(found[2]).all()


def test_matching_runs_and_never_sees_the_labels_of_test(
    data: DocumentData, tiny_bert: str, tmp_path: Path
) -> None:
    settings = config(tmp_path / "tiny", tiny_bert)
    metrics = run_text(settings, tmp_path / "run")
    assert set(metrics["rows"]["final"]) == {
        "micro_f1", "precision", "recall", "average_precision"
    }  # fmt: skip
    assert metrics["chosen"] == load_json(tmp_path / "run" / "calibration.json")
    assert evaluate_text(tmp_path / "run", "test") == pytest.approx(metrics["test"])
    path = tmp_path / "tiny" / "test_revised.json"
    path.write_text(path.read_text().replace('"P1"', '"P2"', 4))
    changed = run_text(settings, tmp_path / "other")
    assert (changed["chosen"], changed["valid"]) == (metrics["chosen"], metrics["valid"])
    assert changed["test"] != metrics["test"]


def test_the_control_counts_types(data: DocumentData, tiny_bert: str, tmp_path: Path) -> None:
    settings = config(tmp_path / "tiny", tiny_bert, "document.method=frequency")
    metrics = run_text(settings, tmp_path / "run")
    # a person has two towns, each with one of two relations: half of what is said is right
    assert metrics["test"]["precision"] == pytest.approx(0.5)
    assert metrics["test"]["recall"] == pytest.approx(1.0)
    assert metrics["chosen"]["threshold"] == pytest.approx(0.5)


def made(tiny_bert: str, max_tokens: int = 32) -> tuple[DocumentModel, Any]:
    network, tokenizer = load_model(tiny_bert)
    torch.manual_seed(0)
    tuning = DocumentTuning(block=16, dropout=0.0)
    return DocumentModel(network, 2, tuning).eval(), tokenizer


def wide(data: DocumentData) -> Document:
    """The first document, in which a third entity stands that has nothing to do with it."""
    one = data.valid[0]
    return one._replace(
        sentences=(*one.sentences, ("York", "and", "Riga", ".")),
        entities=(*one.entities, Entity((Place(2, 0, 1), Place(2, 2, 3)), "LOC")),
        facts=frozenset({Fact(0, 1, 0)}),
    )


def test_a_batch_is_its_documents_one_by_one(
    data: DocumentData, tiny_bert: str, device: torch.device
) -> None:
    model, tokenizer = made(tiny_bert)
    model.to(device)
    documents = [
        tokenise_document(one, facts_of([one], 2), tokenizer, 20)
        for one in (data.valid[0], wide(data))
    ]
    assert [len(one.offsets) - 1 for one in documents] == [2, 2]
    with torch.no_grad():
        both = model(batch_of(documents, 0, device))
        each = [model(batch_of([one], 0, device)) for one in documents]
    torch.testing.assert_close(both, torch.cat(each), rtol=1e-4, atol=1e-5)
    assert both.shape == (6 + 12, 2)


def test_documents_without_a_pair_add_nothing(data: DocumentData, tiny_bert: str) -> None:
    model, tokenizer = made(tiny_bert)
    one = data.valid[0]
    alone = one._replace(entities=one.entities[:1], facts=frozenset())
    nobody = Document("", (("the", "painter"),), (), frozenset())
    documents = [
        tokenise_document(x, facts_of([x], 2), tokenizer, 32) for x in (one, alone, nobody)
    ]
    task = DocumentTask(model, documents, [], 0, DocumentTuning(block=16))
    whole, with_them, none = (
        task.loss(torch.tensor(some), torch.Generator()) for some in ([0], [1, 0, 2], [1, 2])
    )
    torch.testing.assert_close(with_them, whole)
    none.backward()
    assert float(none.detach()) == 0
    scores = judged(model, documents[1:], 0)
    assert scores["micro_f1"] == 0
    assert judged(model, documents, 0) == judged(model, documents[:1], 0)


def test_every_token_is_read_where_it_sees_most(data: DocumentData, tiny_bert: str) -> None:
    tokenizer = load_model(tiny_bert)[1]
    one = wide(data)
    whole = tokenise_document(one, facts_of([one], 2), tokenizer, 96)
    parts = tokenise_document(one, facts_of([one], 2), tokenizer, 14)
    assert len(whole.offsets) == 2
    assert len(parts.offsets) > 3

    def tokens(x: Any) -> list[int]:
        return x.ids[x.offsets[x.window] + x.place].tolist()

    assert tokens(whole) == tokens(parts) == whole.ids[1:-1].tolist()
    assert torch.equal(whole.mentions, parts.mentions)
    star = tokenizer("*", add_special_tokens=False)["input_ids"][0]
    assert {tokens(parts)[place] for place in parts.mentions[:, 0].tolist()} == {star}
    # of two windows the one whose edge is farther away, so never a token at an inner edge
    length = parts.offsets.diff()[parts.window] - 2
    inner = (parts.place - 1 == length - 1) & (parts.window < len(parts.offsets) - 2)
    assert not inner.any()


def test_tuning_learns_resumes_and_is_measured_again(
    data: DocumentData, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(
        tmp_path / "tiny", tiny_bert, "document.method=tuned", "document.tuning.refit=true"
    )
    whole = run_text(settings, tmp_path / "run")
    assert whole["test"]["micro_f1"] > 0.9
    assert evaluate_text(tmp_path / "run", "test") == pytest.approx(whole["test"])
    resumed = stopped_and_resumed(run_text, settings, tmp_path / "part", monkeypatch)
    assert resumed == lasting(whole)


@pytest.mark.parametrize(("change", "told"), [
    ("document.tuning.block=7", "document.tuning.block is 7 and the model is 32 wide"),
    ("document.tuning.share=0.0", "leaves 0 to train on and 24 to select by"),
    ("text.max_tokens=500", "text.max_tokens is 500"),
    ("data.fraction=0.5", "no subsets of labels"),
])  # fmt: skip
def test_what_cannot_be(
    data: DocumentData, tiny_bert: str, tmp_path: Path, change: str, told: str
) -> None:
    settings = config(tmp_path / "tiny", tiny_bert, "document.method=tuned", change)
    with pytest.raises(InputError, match=told):
        run_text(settings, tmp_path / "run")


@pytest.mark.parametrize("method", ["match", "frequency", "tuned"])
@pytest.mark.parametrize(("part", "told"), [
    ("dev", "has 0 validation and 16 test documents"),
    ("test", "has 24 validation and 0 test documents"),
])  # fmt: skip
def test_an_empty_part_is_refused(
    data: DocumentData, tiny_bert: str, tmp_path: Path, method: str, part: str, told: str
) -> None:
    (tmp_path / "tiny" / f"{part}_revised.json").write_text("[]")
    settings = config(tmp_path / "tiny", tiny_bert, f"document.method={method}")
    with pytest.raises(InputError, match=told):
        run_text(settings, tmp_path / "run")


def test_rows_longer_than_the_model_reads_are_refused_where_nothing_is_trained(
    data: DocumentData, tiny_bert: str, tmp_path: Path
) -> None:
    settings = config(tmp_path / "tiny", tiny_bert, "text.max_tokens=500")
    with pytest.raises(InputError, match="text.max_tokens is 500 and the model has 128 positions"):
        run_text(settings, tmp_path / "run")


def test_types_are_told_apart_by_the_label_of_a_relation_without_a_name(
    data: DocumentData, tiny_bert: str
) -> None:
    bare = dataclasses.replace(
        data, labels=("born", "lives"), label_names=("", ""), descriptions=("", "")
    )
    found, named = (
        match_types(x, ("painter", "far"), TextEncoder(tiny_bert))
        for x in (bare, dataclasses.replace(bare, label_names=("born", "lives")))
    )
    torch.testing.assert_close(found, named)
    assert not torch.allclose(found[:, 0], found[:, 1])


def test_a_train_file_is_taken_where_it_is(data: DocumentData, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    (folder / "train_revised.json").write_bytes((folder / "dev_revised.json").read_bytes())
    found = read_documents(folder, data.name)
    assert found == dataclasses.replace(data, train=data.valid)
