"""The search for rewrites of a sentence that keep its meaning and change what a classifier says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from relgnn.config.augmentation import AttackConfig, AttackKind
from relgnn.data.mentions import Span
from relgnn.data.relations import Example
from relgnn.text.augment.base import Augmenter, Edit, content_words, edited
from relgnn.text.augment.swaps import Distractors, EntitySwap
from relgnn.text.augment.synonyms import Lexicon, replacements, words_of

Read = Callable[[Sequence[Example]], np.ndarray]
"""Logits [n, labels] of sentences."""

Search = Generator[list[Example], np.ndarray, tuple[Example, int] | None]
"""Gives rewrites to be read, is sent their probabilities [n, labels], and returns one that misleads
with the label that it is given.

Of the rewrites that it gave, it is sent as many as the budget allowed, the first ones."""

TRIED_AT_ONCE = 16


@dataclass(frozen=True)
class Flip:
    """A rewrite that misleads.

    Args:
        kind: how it was rewritten.
        before, after: the sentence, and its rewrite under the same label.
        said: the label that the rewrite is given.
        edits: words, mentions or clauses that differ.
    """

    kind: AttackKind
    before: Example
    after: Example
    said: int
    edits: int


class Attack:
    """Searches, by each kind of rewrite on its own, for one that flips the predicted label.

    - synonyms: words in the order of how much their absence lowers P(label), each replaced by the
      synonym that lowers it most, until the label flips (TextFooler, Jin et al., 2020);
    - entity_swap: one or both mentions replaced by others of the same type;
    - distractors: a clause that says nothing of the two, before the sentence or at its end.

    Of the last two, rewrites are drawn, and the most misleading of the first batch with any is
    taken. All of them keep the mentions as augmenters do. The searches of many sentences go on
    side by side, so that what they ask is read together.

    Args:
        read: the classifier.
        lexicon: synonyms.
        swaps: other mentions, from training sentences.
        settings: kinds and budget.
    """

    def __init__(
        self, read: Read, lexicon: Lexicon, swaps: EntitySwap, settings: AttackConfig
    ) -> None:
        self.read, self.lexicon, self.settings = read, lexicon, settings
        self.drawn: dict[AttackKind, Augmenter] = {
            "entity_swap": swaps, "distractors": Distractors()
        }  # fmt: skip

    def right(self, examples: Sequence[Example]) -> list[Example]:
        """Those whose label the classifier says."""
        if not examples:
            return []
        said = self.read(examples).argmax(1).tolist()
        return [one for one, label in zip(examples, said, strict=True) if label == one.relation]

    def flips(
        self, kind: AttackKind, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Flip | None]:
        """A misleading rewrite of each example, None where none was found within the budget.

        Args:
            kind: of the rewrites.
            examples: correctly classified ones, see `right`.
            generator: of all draws.
        """
        if kind == "synonyms":
            self.lexicon.prepare(words_of(examples))
        found: list[Flip | None] = [None] * len(examples)
        searches = [self._search(kind, one, generator) for one in examples]
        left = np.full(len(examples), self.settings.budget)
        sent: dict[int, np.ndarray | None] = dict.fromkeys(range(len(examples)))
        while sent:
            asked: dict[int, list[Example]] = {}
            for i, answer in sent.items():
                try:
                    wanted = next(searches[i]) if answer is None else searches[i].send(answer)
                except StopIteration as stop:
                    if stop.value is not None:
                        before, (after, said) = examples[i], stop.value
                        found[i] = Flip(kind, before, after, said, _edits(kind, before, after))
                    continue
                if left[i] > 0:
                    asked[i] = wanted[: left[i]]
                    left[i] -= len(asked[i])
            sent = dict(self._probabilities(asked))
        return found

    def _probabilities(self, asked: Mapping[int, list[Example]]) -> Mapping[int, np.ndarray]:
        if not asked:
            return {}
        logits = self.read([one for own in asked.values() for one in own])
        parts = np.split(softmax(logits, axis=1), np.cumsum([len(x) for x in asked.values()])[:-1])
        return dict(zip(asked, parts, strict=True))

    def _search(self, kind: AttackKind, one: Example, generator: np.random.Generator) -> Search:
        if kind == "synonyms":
            return _by_synonyms(one, self.lexicon)
        drawn = self.drawn[kind].augment([one] * self.settings.budget, generator)
        return _first_of(list(dict.fromkeys(drawn)), one.relation)


class Misleading(Augmenter):
    """Rewrites that mislead a trained classifier, to train the next one on.

    Args:
        attack: on the classifier.
        kind: of the rewrites.
    """

    def __init__(self, attack: Attack, kind: AttackKind) -> None:
        self.attack, self.kind = attack, kind

    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """See `Augmenter`."""
        right = list(dict.fromkeys(self.attack.right(examples)))
        flips = self.attack.flips(self.kind, right, generator)
        misled = {flip.before: flip.after for flip in flips if flip is not None}
        return [misled.get(one) for one in examples]


def attack_report(
    attack: Attack, examples: Sequence[Example], generator: np.random.Generator
) -> tuple[dict[str, float], list[Flip]]:
    """Attack every correctly classified example by every kind.

    Returns:
        `attack_rate`, the share of them that some kind flips, `attack_rate_<kind>` for each,
        `attack_edits`, the mean number of edits of a misleading rewrite, and `attacked`, how many
        sentences that is of; and the misleading rewrites.
    """
    right = attack.right(examples)
    by_kind = {kind: attack.flips(kind, right, generator) for kind in attack.settings.kinds}
    hit = np.array([[x is not None for x in flips] for flips in by_kind.values()], dtype=bool)
    flips = [flip for own in by_kind.values() for flip in own if flip is not None]
    count = max(len(right), 1)
    rates = {
        f"attack_rate_{kind}": float(own.sum() / count)
        for kind, own in zip(by_kind, hit, strict=True)
    }
    report = {
        "attack_rate": float(hit.any(0).sum() / count), **rates,
        "attack_edits": float(np.mean([flip.edits for flip in flips])) if flips else 0.0,
        "attacked": float(len(right)),
    }  # fmt: skip
    return report, flips


def _by_synonyms(one: Example, lexicon: Lexicon) -> Search:
    label = one.relation
    choices = {span: replacements(one, span, lexicon) for span in content_words(one)}
    words = [span for span, edits in choices.items() if edits]
    if not words:
        return None
    # A word matters as much as its absence lowers P(label).
    read = yield [one, *(edited(one, [(*span, "")]) for span in words)]
    edits: list[Edit] = []
    lowest, absent = read[0, label], read[1:]
    for i in np.argsort(absent[:, label], kind="stable"):
        span: Span = words[i]
        tried = [[*edits, edit] for edit in choices[span]]
        rewrites = [edited(one, own) for own in tried]
        probabilities = yield rewrites
        best = int(probabilities[:, label].argmin())
        said = int(probabilities[best].argmax())
        if said != label:
            return rewrites[best], said
        if probabilities[best, label] < lowest:
            edits, lowest = tried[best], probabilities[best, label]
    return None


def _first_of(rewrites: Sequence[Example], label: int) -> Search:
    for start in range(0, len(rewrites), TRIED_AT_ONCE):
        part = list(rewrites[start : start + TRIED_AT_ONCE])
        probabilities = yield part
        best = int(probabilities[:, label].argmin())
        said = int(probabilities[best].argmax())
        if said != label:
            return part[best], said
    return None


def _edits(kind: AttackKind, before: Example, after: Example) -> int:
    if kind == "distractors":
        return 1
    if kind == "synonyms":  # as many words as before, at the same places
        return sum(a != b for a, b in zip(before.text.split(), after.text.split(), strict=True))
    spans = zip((before.head, before.tail), (after.head, after.tail), strict=True)
    return sum(before.text[slice(*old)] != after.text[slice(*new)] for old, new in spans)
