"""The extractor with nothing frozen is the extractor over stored states, as long as none learns."""

from __future__ import annotations

import torch

from benchmarks.extractor import Sentences, Whole, _occurrence, prepare, run
from relgnn.runtime import Runtime

LINES = [
    {"tokens": f"the {a} of the {b} fell , he said .".split(), "head": {"span": [1, 2]},
     "tail": {"span": [4, 5]}}
    for a, b in [("roof", "house"), ("cause", "fire"), ("wheel", "red car"), ("end", "road")] * 5
]  # fmt: skip
DATA = Sentences(
    [_occurrence(line) for line in LINES], torch.arange(len(LINES)) % 4 // 2, ["first", "second"]
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
