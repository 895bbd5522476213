"""Evidence: which pairs a page and its names make, and features equal to means taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from relgnn.data.graph import Text
from relgnn.text.blocking import NO_SPAN
from relgnn.text.encoder import TextEncoder
from relgnn.text.evidence import (
    Evidence,
    PairFeatures,
    SentenceVectors,
    add_implied,
    edge_evidence,
    encode_corpus,
    find_evidence,
    pool_evidence,
)
from relgnn.text.linking import COREFERENT, EXACT, IMPLIED, STEM
from relgnn.text.means import Means
from tests.text.toy import toy_graph

NAMES = ("Ada", "Bonn", "painter", "Cork", "Ben")
TEXTS = (
    Text("page", "Ada was born in Bonn. She lives now in Cork, a painting far from Bonn.", 0),
    Text("loose", "Cork and Bonn. Ben saw a painter.", None),
    Text("page4", "Ben was born in Cork.", 4),
)
GRAPH = toy_graph(TEXTS, NAMES)
SENTENCES = GRAPH.sentences()


def row(evidence: Evidence, at: int) -> tuple[int, int, int, tuple, tuple, int]:
    e = evidence
    spans = tuple(e.head_span[at].tolist()), tuple(e.tail_span[at].tolist())
    return (int(e.head[at]), int(e.tail[at]), int(e.sentence[at]), *spans, int(e.kind[at]))


def rows(evidence: Evidence) -> set[tuple[int, int, int, tuple, tuple, int]]:
    return {row(evidence, at) for at in range(len(evidence.pair))}


def test_pages_pair_with_every_mention_and_names_with_names() -> None:
    assert [s.text for s in SENTENCES][:2] == [TEXTS[0].text[:21], TEXTS[0].text[22:]]
    found = rows(find_evidence(GRAPH, SENTENCES))
    assert found == {
        (0, 1, 0, (0, 3), (16, 20), EXACT),
        # The page's entity is not named in its second sentence, and a stem is enough for it.
        (0, 3, 1, NO_SPAN, (17, 21), EXACT),
        (0, 2, 1, NO_SPAN, (25, 33), STEM),
        (0, 1, 1, NO_SPAN, (43, 47), EXACT),
        # Two names make a pair anywhere, the smaller id first; "painter" has no capital.
        (1, 3, 1, (43, 47), (17, 21), EXACT),
        (1, 3, 2, (9, 13), (0, 4), EXACT),
        (4, 3, 4, (0, 3), (16, 20), EXACT),
    }


def test_pairs_are_numbered_and_lead_back_to_their_rows() -> None:
    evidence = find_evidence(GRAPH, SENTENCES)
    assert evidence.num_pairs == 5
    assert (evidence.pair_head[evidence.pair] == evidence.head).all()
    assert (evidence.pair_tail[evidence.pair] == evidence.tail).all()
    assert {row(evidence, at)[2] for at in np.flatnonzero(evidence.pair == 0)} == {0, 1}


def test_taken_rows_keep_their_pairs_or_are_those_of_others() -> None:
    evidence = find_evidence(GRAPH, SENTENCES, coreference=True)
    rows = np.array([2, 0, 2])
    some = evidence.taken(rows)
    assert [row(some, at) for at in range(3)] == [row(evidence, at) for at in rows]
    assert some.pair_head is evidence.pair_head and some.head_coreferent is not None
    np.testing.assert_array_equal(some.pair, evidence.pair[rows])
    own = evidence.taken(rows, np.arange(3), evidence.head[rows], evidence.tail[rows])
    assert own.num_pairs == 3 and (own.pair_tail[own.pair] == own.tail).all()


def test_no_sentence_gives_no_evidence() -> None:
    evidence = find_evidence(GRAPH, [])
    assert evidence.num_pairs == len(evidence.pair) == 0
    assert evidence.head_span.shape == (0, 2)


@pytest.fixture(scope="module")
def vectors(minilm: TextEncoder) -> SentenceVectors:
    return encode_corpus(GRAPH, SENTENCES, find_evidence(GRAPH, SENTENCES), minilm)


@pytest.fixture(scope="module")
def features(vectors: SentenceVectors) -> PairFeatures:
    return pool_evidence(SENTENCES, find_evidence(GRAPH, SENTENCES), vectors)


def test_proposed_pairs_get_the_nearest_sentence_of_the_page(
    minilm: TextEncoder, vectors: SentenceVectors
) -> None:
    evidence = find_evidence(GRAPH, SENTENCES)
    heads, tails = np.array([0, 0, 1, 4, 4, 4]), np.array([4, 1, 0, 1, 1, 4])
    wider = add_implied(evidence, GRAPH, SENTENCES, vectors, heads, tails)
    new = rows(wider) - rows(evidence)
    # (0, 1) and its reverse are there, (4, 4) is no pair, and (4, 1) counts once.
    assert {(h, t, kind) for h, t, *_, kind in new} == {(0, 4, IMPLIED), (4, 1, IMPLIED)}
    assert len(wider.pair) == len(evidence.pair) + 2
    assert all(head == tail == NO_SPAN for _, _, _, head, tail, _ in new)
    page = [s.text for s in SENTENCES if s.entity == 0]
    nearest = int((minilm.encode(page) @ minilm.encode(["Ben"])[0]).argmax())
    assert next(s for h, t, s, *_ in new if (h, t) == (0, 4)) == nearest


def test_an_implied_pair_has_a_sentence_and_no_mentions(vectors: SentenceVectors) -> None:
    evidence = find_evidence(GRAPH, SENTENCES)
    wider = add_implied(evidence, GRAPH, SENTENCES, vectors, np.array([4]), np.array([1]))
    pooled = pool_evidence(SENTENCES, wider, vectors)
    pair = list(zip(pooled.head.tolist(), pooled.tail.tolist(), strict=True)).index((4, 1))
    assert torch.equal(pooled.sentence[pair], vectors.whole[4])
    assert pooled.head_mention[pair].norm() == pooled.tail_mention[pair].norm() == 0
    assert pooled.shape[pair, IMPLIED] == 1


def test_nothing_proposed_changes_nothing(vectors: SentenceVectors) -> None:
    evidence = find_evidence(GRAPH, SENTENCES)
    none = np.zeros(0, dtype=np.int64)
    assert rows(add_implied(evidence, GRAPH, SENTENCES, vectors, none, none)) == rows(evidence)


def spoken(encoder: TextEncoder, sentence: int, span: tuple[int, int]) -> Tensor:
    return encoder.encode_spans([(SENTENCES[sentence].text, [span])])[1][0]


def test_features_are_means_over_the_pairs_rows(
    features: PairFeatures, minilm: TextEncoder
) -> None:
    evidence = find_evidence(GRAPH, SENTENCES)
    pair = int(evidence.pair[[row(evidence, i)[:2] for i in range(7)].index((0, 1))])
    texts = minilm.encode([s.text for s in SENTENCES])
    close: dict[str, Any] = {"atol": 2e-3, "rtol": 0}
    torch.testing.assert_close(features.sentence[pair], texts[:2].mean(0), **close)
    tails = torch.stack([spoken(minilm, 0, (16, 20)), spoken(minilm, 1, (43, 47))])
    torch.testing.assert_close(features.tail_mention[pair], tails.mean(0), **close)
    # Named in one of its two sentences only: the mean is over that one.
    torch.testing.assert_close(features.head_mention[pair], spoken(minilm, 0, (0, 3)), **close)
    assert (int(features.head[pair]), int(features.tail[pair])) == (0, 1)
    torch.testing.assert_close(features.name, minilm.encode(NAMES), **close)


def test_an_unnamed_head_has_the_zero_vector(features: PairFeatures) -> None:
    pairs = list(zip(features.head.tolist(), features.tail.tolist(), strict=True))
    assert features.head_mention[pairs.index((0, 3))].norm() == 0
    assert features.tail_mention[pairs.index((0, 3))].norm() > 0


def test_shape_counts_kinds_names_and_places(features: PairFeatures) -> None:
    pairs = list(zip(features.head.tolist(), features.tail.tolist(), strict=True))
    kinds = COREFERENT
    shape = features.shape[pairs.index((0, 1))]
    flags, logs = shape[:kinds], shape[kinds : 2 * kinds]
    assert flags.tolist() == [1.0, *[0.0] * (kinds - 1)]
    assert logs[0] == pytest.approx(np.log(3))
    count, named, paged, opening, earliest = shape[2 * kinds :].tolist()
    assert count == pytest.approx(np.log(3))
    assert (named, paged, opening, earliest) == (1, 1, 1, 0)
    stem_only = features.shape[pairs.index((0, 2))]
    assert stem_only[STEM] == 1 and stem_only[2 * kinds + 3] == 0


def test_aliases_of_the_graph_make_pairs() -> None:
    aliases = ((), ("the river town",), (), ("Corcaigh",), ())
    texts = (Text("page", "Ada left the River Town for Corcaigh.", 0),)
    graph = replace(GRAPH, aliases=aliases, texts=texts)
    assert rows(find_evidence(graph, graph.sentences())) >= {
        (0, 1, 0, (0, 3), (9, 23), EXACT), (0, 3, 0, (0, 3), (28, 36), EXACT),
    }  # fmt: skip
    none = rows(find_evidence(replace(graph, aliases=()), graph.sentences()))
    assert {(h, t) for h, t, *_ in none} == set()


TYPED = replace(GRAPH, types=(("human",), ("city",), ("profession",), ("city",), ("human",)))


def test_a_pronoun_is_a_mention_where_it_is_asked_for() -> None:
    """Two more spans, and nothing else: "She" is Ada on Ada's page."""
    idle, found = (find_evidence(TYPED, SENTENCES, coreference=asked) for asked in (False, True))
    assert idle.head_coreferent is None and found.head_coreferent is not None
    spoken = {row(found, i) for i in np.flatnonzero(found.head_coreferent)}
    assert spoken == {
        (0, 3, 1, (0, 3), (17, 21), EXACT), (0, 2, 1, (0, 3), (25, 33), STEM),
        (0, 1, 1, (0, 3), (43, 47), EXACT),
    }  # fmt: skip
    assert rows(idle) == rows(found) - spoken | {
        (h, t, s, NO_SPAN, tail, kind) for h, t, s, _, tail, kind in spoken
    }
    assert rows(idle) == rows(find_evidence(GRAPH, SENTENCES))


def test_coreference_adds_columns_and_leaves_the_others(minilm: TextEncoder) -> None:
    idle, found = (find_evidence(TYPED, SENTENCES, coreference=asked) for asked in (False, True))
    vectors = encode_corpus(TYPED, SENTENCES, found, minilm)
    before, after = (pool_evidence(SENTENCES, e, vectors) for e in (idle, found))
    width = before.shape.shape[1]
    assert width == 2 * COREFERENT + 5 and after.shape.shape[1] == width + 4
    # A pronoun is no name: whether the head is named stays as it was.
    assert torch.equal(after.shape[:, :width], before.shape)
    pairs = list(zip(after.head.tolist(), after.tail.tolist(), strict=True))
    assert after.shape[pairs.index((0, 1)), width:].tolist() == pytest.approx(
        [1, 0, np.log(2), 0], abs=1e-6
    )
    assert after.shape[pairs.index((4, 3)), width:].tolist() == [0, 0, 0, 0]
    assert after.head_mention[pairs.index((0, 3))].norm() > 0


def test_a_coreferent_tail_is_of_a_kind_of_its_own(minilm: TextEncoder) -> None:
    texts = (Text("bonn", "Ben was the mayor of it. He was born in Cork.", 1),)
    graph = replace(TYPED, texts=texts)
    sentences = graph.sentences()
    found = find_evidence(graph, sentences, coreference=True)
    assert {r for r in rows(found) if r[5] == COREFERENT} == {
        (1, 4, 1, NO_SPAN, (0, 2), COREFERENT), (3, 4, 1, (15, 19), (0, 2), COREFERENT),
    }  # fmt: skip
    features = pool_evidence(sentences, found, encode_corpus(graph, sentences, found, minilm))
    pairs = list(zip(features.head.tolist(), features.tail.tolist(), strict=True))
    only = features.shape[pairs.index((3, 4))]
    assert only[-4:].tolist() == pytest.approx([0, 1, 0, np.log(2)], abs=1e-6)
    assert only[: 2 * COREFERENT].sum() == 0 and only[2 * COREFERENT] == pytest.approx(np.log(2))


def test_implied_rows_keep_what_is_coreferent() -> None:
    found = find_evidence(TYPED, SENTENCES, coreference=True)
    blank = torch.zeros(len(SENTENCES), 2)
    vectors = SentenceVectors(blank, blank, [], torch.zeros(5, 2), torch.zeros(5, 2))
    wider = add_implied(found, TYPED, SENTENCES, vectors, np.array([4]), np.array([1]))
    assert wider.head_coreferent is not None and found.head_coreferent is not None
    old = len(found.head)
    assert (wider.head_coreferent[:old] == found.head_coreferent).all()
    assert wider.kind[old:].tolist() == [IMPLIED] and not wider.head_coreferent[old:].any()


def allocated(work: Callable[[], object]) -> int:
    """Bytes of all tensors that some work makes, whether or not it keeps them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    return sum(max(0, event.self_cpu_memory_usage) for event in seen.events())


def test_no_table_of_all_pairs_is_made(features: PairFeatures) -> None:
    pairs, spans, width = 10_000, torch.ones(2, 64), 64
    group = torch.tensor([0, 0, 7])
    few = Means.over(spans, torch.tensor([0, 1, 1]), group, pairs)
    ends = torch.arange(pairs)
    many = replace(
        features, sentence=few, head_mention=few, tail_mention=few, head=ends, tail=ends,
        node=torch.ones(pairs, 1),
    )  # fmt: skip
    triples = np.array([[7, 0, 7], [3, 0, 4]])
    made = allocated(lambda: edge_evidence(many, triples))
    assert 0 < made < 0.5 * pairs * width * spans.element_size()
    assert edge_evidence(many, triples).sum(1).tolist() == [width, 0]


def test_rows_of_pairs_are_found_whatever_their_order(features: PairFeatures) -> None:
    order = torch.tensor([2, 0, 1])
    some = replace(features, head=features.head[order], tail=features.tail[order])
    head, tail = some.head.numpy(), some.tail.numpy()
    assert some.rows_of(head, tail).tolist() == [0, 1, 2]
    absent = np.full(1, len(NAMES) - 1)
    assert some.rows_of(np.append(absent, head[2]), np.append(absent, tail[2])).tolist() == [-1, 2]
    assert replace(some, head=some.head[:0], tail=some.tail[:0]).rows_of(head, tail).tolist() == [
        -1, -1, -1,
    ]  # fmt: skip
