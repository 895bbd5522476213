"""Against planted sentences: what counts as independent evidence, and how far text alone can go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain

import numpy as np
from scipy.special import expit

from relgnn.config import DefenceConfig
from relgnn.data import Sentence
from relgnn.posterior.fusion import logit
from relgnn.text.evidence import Evidence
from relgnn.text.linking import WORD

SHINGLE = 3
"""Words of a shingle."""

Shingles = frozenset[tuple[str, ...]]


def shingles(text: str) -> Shingles:
    """Every three words in a row, lower case; all words where there are fewer (Broder, 1997)."""
    words = tuple(WORD.findall(text.lower()))
    return frozenset(words[i : i + SHINGLE] for i in range(max(1, len(words) - SHINGLE + 1)))


class ShingleIndex:
    """Sentences by their shingles, of which few share any with another one."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._with: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def similarity(self, own: Shingles) -> float:
        """The greatest Jaccard coefficient, 0 to 1, of a sentence and one of these."""
        shared = Counter(chain.from_iterable(self._with.get(one, ()) for one in own))
        return max((n / (len(own) + self._sizes[i] - n) for i, n in shared.items()), default=0.0)

    def add(self, own: Shingles) -> None:
        """Take a sentence in."""
        for one in own:
            self._with[one].append(len(self._sizes))
        self._sizes.append(len(own))


def independent(
    evidence: Evidence, sentences: Sequence[Sentence], config: DefenceConfig
) -> Evidence:
    """The evidence without sentences of a pair that repeat another, or come from one text.

    Of sentences that are as alike as `similarity` one counts, and of each text the first
    `per_text`, those that name the tail most surely before others. Which ones these are follows
    from what is written, not from where a text stands in the corpus. Every pair keeps a sentence.

    Args:
        evidence: what linking found.
        sentences: the corpus that it was found in; position = id.
        config: the defence.
    """
    order = np.lexsort((evidence.sentence, evidence.pair))
    starts = np.searchsorted(evidence.pair[order], np.arange(evidence.num_pairs + 1))
    seen: dict[int, Shingles] = {}
    kept: list[int] = []
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        rows = order[first:last].tolist()
        if len(rows) == 1:
            kept += rows
            continue
        surest: dict[int, int] = {}
        for row in rows:
            sentence, kind = int(evidence.sentence[row]), int(evidence.kind[row])
            surest[sentence] = min(kind, surest.get(sentence, kind))
        counted = _counted(surest, sentences, seen, config)
        kept += [row for row in rows if int(evidence.sentence[row]) in counted]
    return evidence.taken(np.sort(np.array(kept, dtype=np.int64)))


def _counted(
    surest: dict[int, int],
    sentences: Sequence[Sentence],
    seen: dict[int, Shingles],
    config: DefenceConfig,
) -> set[int]:
    """Which sentences of a pair count.

    Args:
        surest: sentence -> the surest kind in which it names the tail.
        sentences: the corpus.
        seen: shingles of sentences, filled here.
        config: the defence.
    """

    def written(number: int) -> tuple[int, int, str, str]:
        one = sentences[number]
        return surest[number], one.start, one.text, one.text_id

    counted, others = set[int](), ShingleIndex()
    of_text: dict[str, int] = defaultdict(int)
    for number in sorted(surest, key=written):
        one = sentences[number]
        if of_text[one.text_id] == config.per_text:
            continue
        own = seen.setdefault(number, shingles(one.text))
        if others.similarity(own) >= config.similarity:
            continue
        of_text[one.text_id] += 1
        others.add(own)
        counted.add(number)
    return counted


def bursts(evidence: Evidence, sentences: Sequence[Sentence], burst: float) -> set[tuple[int, int]]:
    """Pairs, the smaller entity first, that more texts name together than the corpus explains.

    With n_a texts that name a, or are about it, beside somebody else, n_ab that name both, and n of
    all texts,

        n_ab − n_a n_b / n > burst.

    Two countries that every page names are no burst; two entities that hardly any text names and
    five name together are. A text that names one entity alone and is no page of another is no
    evidence of any pair, and does not count: in a corpus of many such, chance is put too low.

    Args:
        evidence: independent evidence.
        sentences: the corpus that it was found in; position = id.
        burst: texts beyond chance.
    """
    number: dict[str, int] = {}
    text = np.array([number.setdefault(s.text_id, len(number)) for s in sentences], dtype=np.int64)
    of = text[evidence.sentence]
    low, high = np.minimum(evidence.head, evidence.tail), np.maximum(evidence.head, evidence.tail)
    pairs, both = np.unique(
        np.unique(np.column_stack([low, high, of]), axis=0)[:, :2], axis=0, return_counts=True
    )
    named = np.unique(np.column_stack([np.append(low, high), np.append(of, of)]), axis=0)
    alone = np.bincount(named[:, 0])
    chance = alone[pairs].prod(1) / max(1, len(number))
    return set(map(tuple, pairs[both - chance > burst].tolist()))


def defended(
    p: np.ndarray,
    ends: np.ndarray,
    others: Sequence[np.ndarray],
    evidence: Evidence,
    sentences: Sequence[Sentence],
    config: DefenceConfig,
) -> np.ndarray:
    """Posteriors that text alone has not lifted too far; see `bursts` and `bounded_influence`.

    Args:
        p: float [C], posteriors of all views together.
        ends: int64 [C, 2], the two entities of each triple.
        others: as of `bounded_influence`.
        evidence, sentences: as of `bursts`.
        config: the defence.
    """
    sudden = bursts(evidence, sentences, config.burst)
    burst = np.array([tuple(pair) in sudden for pair in np.sort(ends, 1).tolist()], dtype=bool)
    return bounded_influence(p, others, burst, config.influence)


def bounded_influence(
    p: np.ndarray, others: Sequence[np.ndarray], burst: np.ndarray, influence: float
) -> np.ndarray:
    """Posteriors no further above what the other views say than text may lift them.

        logit p' = min(logit p, max over other views of logit q + influence)

    and nothing instead of `influence` for pairs in a burst. Where no other view speaks, p stays.

    Args:
        p: float [C], posteriors of all views together.
        others: float [C] each, probabilities by views other than text, nan where one is silent.
        burst: bool [C].
        influence: log odds, at least 0.
    """
    if not others:
        return p
    said = np.stack([np.where(np.isnan(q), -np.inf, logit(q)) for q in others]).max(0)
    most = said + np.where(burst, 0.0, influence)
    bounded: np.ndarray = np.where(np.isinf(said) | (logit(p) <= most), p, expit(most))
    return bounded
