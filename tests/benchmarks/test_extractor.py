"""The extractor with nothing frozen is the extractor over stored states, as long as none learns."""

from __future__ import annotations

import argparse

import pytest
import torch

from benchmarks import extractor
from benchmarks.extractor import Sentences, Whole, occurrence, prepare, run
from experiments import commit
from experiments.results import Line
from relgnn.data.relations import Example
from relgnn.runtime import Runtime

TEXTS = [
    (f"the {a} of the {b} fell , he said .", a, b)
    for a, b in [("roof", "house"), ("cause", "fire"), ("wheel", "red car"), ("end", "road")] * 5
]
EXAMPLES = [
    Example(text, *((text.index(word), text.index(word) + len(word)) for word in words), relation=0)
    for text, *words in TEXTS
]
DATA = Sentences(
    [occurrence(one) for one in EXAMPLES], torch.arange(len(EXAMPLES)) % 4 // 2, 2, [0, 1]
)
RUNTIME = Runtime(0, torch.device("cpu"), "fp32", "fp32", 1, True)


def test_spans_are_those_of_the_words() -> None:
    for row in DATA.rows:
        for (start, end), name in ((row.head_span, row.head_name), (row.tail_span, row.tail_name)):
            assert row.text[start:end] == name
    assert DATA.rows[0].head_name == "roof" and DATA.rows[0].tail_name == "house"


def test_all_layers_over_tokens_are_one_layer_over_stored_states() -> None:
    whole, tokens = prepare(6, DATA, RUNTIME)
    upper, states = prepare(1, DATA, RUNTIME)
    assert isinstance(whole, Whole)
    whole.extractor.head.load_state_dict(upper.head.state_dict())
    some = torch.tensor([0, 2, 1])
    with torch.no_grad():
        for model in (whole.extractor, upper):
            model.markers.zero_()
        torch.testing.assert_close(
            whole.eval()(tokens.batch(some)), upper.eval()(states.batch(some)), atol=0.05, rtol=0.02
        )


def test_it_learns_what_two_nouns_tell() -> None:
    row = run(1, DATA, 12, 6, RUNTIME)
    assert row["sentences_s"] > 0
    assert row["macro_f1"] == 1


def test_absent_data_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extractor, "find", lambda name: None)
    assert extractor.main(["--threads", "1"]) == 2
    assert capsys.readouterr().err.startswith("semeval2010 is in no data folder; set RELGNN_DATA")


def test_a_line_is_dirty_where_the_code_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Line] = []
    monkeypatch.setattr(extractor, "append", lambda table, lines: kept.extend(lines))
    monkeypatch.setattr(commit, "_git", lambda *words: "")
    given = argparse.Namespace(sentences=1, epochs=1, batch=1, threads=1)
    found = [{"reading_s": 1.0, "training_s": 1.0, "macro_f1": 0.5}]
    for dirty in (False, True):
        extractor.record(1, found, given, {"git_commit": "c" * 40, "dirty": dirty}, "the command")
    assert [line.dirty for line in kept] == [False, True]
