from __future__ import annotations

import pytest
import torch

from relgnn.data.corpus import MarkedText
from relgnn.runtime import torch_rng
from relgnn.text.encoder import load_model
from relgnn.text.masking import OUTSIDE, PassageReader, mask_units, sentences_or_halves

TEXTS = [
    MarkedText("The Royal Dutch Shell company was founded in Den Haag.", ((4, 21), (45, 53))),
    MarkedText("Unbelievably, antidisestablishmentarianism lives on. Few know why. Nobody asks."),
    MarkedText("A short one."),
]


@pytest.fixture(scope="module")
def reader() -> PassageReader:
    return PassageReader(load_model("minilm")[1], 24)


def tokens(reader: PassageReader, ids: torch.Tensor) -> list[str]:
    found: list[str] = reader.tokenizer.convert_ids_to_tokens(ids.tolist())
    return found


def test_windows_hold_every_token_once_between_special_ones(reader: PassageReader) -> None:
    passages = reader.windows(TEXTS, whole=False)
    whole = reader.tokenizer([one.text for one in TEXTS], add_special_tokens=False)["input_ids"]
    assert passages.ids.tolist() == [i for ids in whole for i in ids]
    assert passages.lengths.max() <= 22 < max(map(len, whole[:2]))
    rows = reader.rows(passages, torch.arange(len(passages))[:, None])
    assert rows.ids.shape[1] <= 24
    for ids, mask, unit in zip(rows.ids, rows.mask, rows.unit, strict=True):
        said = tokens(reader, ids[mask])
        assert (said[0], said[-1]) == ("[CLS]", "[SEP]")
        assert set(tokens(reader, ids[~mask])) <= {"[PAD]"}
        assert unit[0] == OUTSIDE and (unit[~mask] == OUTSIDE).all()
        assert unit[unit != OUTSIDE].tolist() == list(range(len(said) - 2))


def test_units_are_mentions_and_words(reader: PassageReader) -> None:
    passages = reader.windows(TEXTS[:1], whole=True)
    said = tokens(reader, passages.ids)
    groups: dict[int, list[str]] = {}
    for token, unit in zip(said, passages.unit.tolist(), strict=True):
        groups.setdefault(unit, []).append(token)
    assert ["royal", "dutch", "shell"] in groups.values()
    assert any("".join(x).replace("##", "") == "denhaag" for x in groups.values())
    marked = {int(u) for u, m in zip(passages.unit, passages.mention, strict=True) if m}
    assert len(marked) == 2
    long = reader.windows(TEXTS[1:2], whole=True)
    pieces = [t for t in tokens(reader, long.ids) if t.startswith("##")]
    assert pieces and len(set(long.unit.tolist())) < len(long.ids)


def test_sentences_follow_each_other_within_a_text(reader: PassageReader) -> None:
    passages = reader.sentences(TEXTS, whole=False)
    first = passages.following()
    pairs = reader.rows(passages, torch.stack([first, first + 1], 1))
    said = [
        " ".join(tokens(reader, ids[mask])) for ids, mask in zip(pairs.ids, pairs.mask, strict=True)
    ]
    assert "[CLS] few know why . [SEP] nobody asks . [SEP]" in said
    assert pairs.ids.shape[1] <= 24
    for segment, ids in zip(pairs.segment, pairs.ids, strict=True):
        end = ids.tolist().index(reader.tokenizer.sep_token_id)
        assert not segment[: end + 1].any() and segment[end + 1]
    numbers = pairs.unit[-1][pairs.unit[-1] != OUTSIDE].tolist()
    assert numbers == list(range(len(numbers)))


def test_a_stranger_is_of_any_other_text_and_of_none_else(reader: PassageReader) -> None:
    passages = reader.sentences(TEXTS, whole=False)
    first = passages.following()
    drawn = torch.stack([passages.elsewhere(first, torch_rng("a", i)) for i in range(200)])
    assert not (passages.text[drawn] == passages.text[first]).any()
    for column, own in zip(drawn.T, passages.text[first], strict=True):
        others = torch.nonzero(passages.text != own)[:, 0]
        counts = torch.bincount(column, minlength=len(passages))[others]
        assert (counts > 0.5 * 200 / len(others)).all()


@pytest.mark.parametrize(("text", "parts"), [
    ("One is here. Two is there.", ["One is here.", "Two is there."]),
    ("The wheel, which is old, turns the mill", ["The wheel, which is old,", "turns the mill"]),
    ("red green blue black", ["red green", "blue black"]), ("word", ["word"]), (" ", []),
])  # fmt: skip
def test_sentences_or_halves(text: str, parts: list[str]) -> None:
    assert [text[a:b] for a, b in sentences_or_halves(text)] == parts


def test_hiding_follows_the_shares(reader: PassageReader, device: torch.device) -> None:
    words = MarkedText(" ".join(["red green blue black white"] * 4))
    passages = reader.windows([words] * 400, whole=False)
    rows = reader.rows(passages, torch.arange(400)[:, None]).to(device)
    mask, size = reader.tokenizer.mask_token_id, len(reader.tokenizer)
    ids, hidden = mask_units(rows, 0.15, 0.0, mask, size, torch_rng("a", 0, device))
    assert (hidden.sum(1) == 3).all()
    assert torch.equal(ids[~hidden], rows.ids[~hidden])
    guessed = ids[hidden]
    masked = float((guessed == mask).float().mean())
    kept = float((guessed == rows.ids[hidden]).float().mean())
    assert masked == pytest.approx(0.8, abs=0.04)
    assert kept == pytest.approx(0.1, abs=0.03)
    again = mask_units(rows, 0.15, 0.0, mask, size, torch_rng("a", 0, device))
    assert torch.equal(ids, again[0]) and torch.equal(hidden, again[1])


def test_mentions_and_words_are_hidden_whole(reader: PassageReader) -> None:
    passages = reader.windows(TEXTS[:1] * 500, whole=True)
    rows = reader.rows(passages, torch.arange(500)[:, None])
    mask = reader.tokenizer.mask_token_id
    ids, hidden = mask_units(rows, 0.15, 0.4, mask, 1000, torch_rng("b", 0))
    for unit in range(int(rows.unit.max()) + 1):
        own = hidden[:, rows.unit[0] == unit]
        assert torch.equal(own.any(1), own.all(1))
        share = float(own[:, 0].float().mean())
        if rows.mention[0][rows.unit[0] == unit].all():
            assert share == pytest.approx(0.4, abs=0.08)
        as_mask = ids[:, rows.unit[0] == unit] == mask
        assert torch.equal(as_mask.any(1), as_mask.all(1))
    assert not mask_units(rows, 0.15, 0.0, mask, 1000, torch_rng("b", 0))[1][rows.mention].any()


def test_the_shortest_row_has_something_to_guess(reader: PassageReader) -> None:
    passages = reader.windows([MarkedText("word")], whole=True)
    rows = reader.rows(passages, torch.tensor([[0]]))
    assert int(mask_units(rows, 0.01, 0.0, 103, 1000, torch_rng("c", 0))[1].sum()) == 1
