"""Marked sentences as token ids: where markers stand, whose tokens are whose, what is cut."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text.encoder import load_model, model_path
from relgnn.text.marking import HEAD, TAIL
from relgnn.text.rows import HEAD_START, TAIL_START, Marker, Rows

TEXT = "Ada Lovelace was born in London ."
ONE = Example(TEXT, (0, 12), (25, 31), 0, "PER", "LOC")


@pytest.fixture
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(model_path("minilm"))


@cache
def shared_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(model_path("minilm"))


def words(marker: Marker, rows: Rows, i: int = 0) -> list[str]:
    ids = rows.ids[rows.offsets[i] : rows.offsets[i + 1]]
    return list(marker.tokenizer.convert_ids_to_tokens(ids.tolist()))


def role_of(marker: Marker, rows: Rows, role: int) -> list[str]:
    return [w for w, r in zip(words(marker, rows), rows.role.tolist(), strict=True) if r == role]


@pytest.mark.parametrize(
    ("marking", "expected"),
    [
        ("special", "[CLS] [H] ada lovelace [/H] was born in [T] london [/T] . [SEP]"),
        (
            "typed",
            "[CLS] [H:PER] ada lovelace [/H:PER] was born in [T:LOC] london [/T:LOC] . [SEP]",
        ),
        ("punctuation", "[CLS] @ ada lovelace @ was born in # london # . [SEP]"),
        ("mask", "[CLS] [H] [MASK] [MASK] [/H] was born in [T] [MASK] [/T] . [SEP]"),
        ("none", "[CLS] ada lovelace was born in london . [SEP]"),
    ],
)
def test_markings(tokenizer: Any, marking: Any, expected: str) -> None:
    marker = Marker(tokenizer, marking, types=["PER", "LOC", ""])
    rows = marker.rows([ONE])
    # lovelace is two pieces of a word
    said = " ".join(words(marker, rows)).replace("love ##lace", "lovelace")
    assert said.replace("[MASK] [MASK] [MASK]", "[MASK] [MASK]") == expected
    if marking not in ("none", "mask"):
        assert role_of(marker, rows, HEAD) == ["ada", "love", "##lace"]
        assert role_of(marker, rows, TAIL) == ["london"]
    if marking != "none":
        assert len(role_of(marker, rows, HEAD_START)) == len(role_of(marker, rows, TAIL_START)) == 1


def test_an_unknown_type_has_the_plain_marker(tokenizer: Any) -> None:
    marker = Marker(tokenizer, "typed", types=["LOC"])
    assert words(marker, marker.rows([ONE]))[1] == "[H]"


def test_new_tokens_get_embeddings() -> None:
    network, tokenizer = load_model("minilm")
    before = network.get_input_embeddings().num_embeddings
    marker = Marker(tokenizer, "special")
    marker.resize(network)
    marker.resize(network)
    assert network.get_input_embeddings().num_embeddings == before + 4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(16, 40), st.integers(1, 3))
def test_both_entities_survive_a_cut(left: int, gap: int, room: int, length: int) -> None:
    head, tail = " ".join(["paris"] * length), " ".join(["london"] * length)
    start, middle = "the " * left, " and " * gap
    text = f"{start}{head} {middle} {tail} far away from here"
    at = text.rindex("london" if length == 1 else tail)
    one = Example(text, (len(start), len(start) + len(head)), (at, at + len(tail)), 0)
    marker = Marker(shared_tokenizer(), "special", room)
    rows = marker.rows([one])
    assert len(rows.ids) <= room
    assert role_of(marker, rows, HEAD) == ["paris"] * length
    assert role_of(marker, rows, TAIL) == ["london"] * length
    said = words(marker, rows)
    assert said.index("[H]") < said.index("[/H]") < said.index("[T]") < said.index("[/T]")


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_mentions_and_gaps_longer_than_the_room_are_cut(
    longest: int, head: int, tail: int, gap: int
) -> None:
    words = ["paris"] * head + ["the"] * gap + ["london"] * tail
    text = " ".join(words)
    spans = (0, 6 * head - 1), (6 * head + 4 * gap, len(text))
    marker = Marker(shared_tokenizer(), "special", longest)
    rows = marker.rows([Example(text, *spans, 0)])
    assert len(rows.ids) == min(longest, head + gap + tail + 6)
    assert len(role_of(marker, rows, HEAD)) == min(head, (longest - 6) // 2)
    assert len(role_of(marker, rows, TAIL)) == min(tail, (longest - 6) // 2)
    assert set(role_of(marker, rows, HEAD)) == {"paris"}
    assert set(role_of(marker, rows, TAIL)) == {"london"}
    assert role_of(marker, rows, HEAD_START) == ["[H]"]
    assert role_of(marker, rows, TAIL_START) == ["[T]"]


def test_a_row_has_room_for_two_mentions(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="markers and ends take 6; two mentions need at least 8"):
        Marker(tokenizer, "special", 7)
    assert len(Marker(tokenizer, "special", 8).rows([ONE]).ids) == 8


def test_a_tail_before_the_head_and_one_inside_it(tokenizer: Any) -> None:
    marker = Marker(tokenizer, "special")
    turned = marker.rows([Example(TEXT, (25, 31), (0, 12), 0)])
    assert " ".join(words(marker, turned)[:2]) == "[CLS] [T]"
    nested = marker.rows([Example(TEXT, (0, 12), (0, 3), 0)])
    said = words(marker, nested)
    assert {"[H]", "[/H]", "[T]", "[/T]"} <= set(said)


def test_batches_are_padded(tokenizer: Any) -> None:
    marker = Marker(tokenizer, "special")
    rows = marker.rows([ONE, Example("Ada Bonn", (0, 3), (4, 8), 1), ONE])
    batch = rows.batch(torch.tensor([1, 0]))
    assert batch.mask.sum(1).tolist() == rows.lengths[[1, 0]].tolist()
    assert (batch.ids[~batch.mask] == tokenizer.pad_token_id).all()
    assert not batch.role[~batch.mask].any()
    assert len(marker.rows([])) == 0


def test_a_slow_tokenizer_and_one_without_mask_are_refused(tiny_bert: str) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(InputError, match="not a fast one"):
        Marker(Slow())
    with pytest.raises(InputError, match="no mask token"):
        Marker(AutoTokenizer.from_pretrained(tiny_bert), "mask")
