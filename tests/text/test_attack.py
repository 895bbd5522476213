"""The search finds what misleads, within its budget, and reports it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from relgnn.config.augmentation import AttackConfig
from relgnn.data.relations import Example
from relgnn.text.attack import Attack, attack_report
from relgnn.text.augment import EntitySwap, Lexicon

SYNONYMS = {
    "quiet": ("silent", "calm"), "painter": ("artist", "drawer"), "moved": ("went", "walked"),
}  # fmt: skip


class Fixed(Lexicon):
    def look_up(self, words: Sequence[str]) -> list[Sequence[str]]:
        return [SYNONYMS.get(word, ()) for word in words]


class Words:
    """A linear classifier of words: P(label 0) rises with the sum of its words' weights."""

    def __init__(self, bias: float = 0.0, **weights: float) -> None:
        self.bias, self.weights = bias, weights
        self.read = 0

    def __call__(self, examples: Sequence[Example]) -> np.ndarray:
        self.read += len(examples)
        sums = [
            self.bias + sum(self.weights.get(word.strip(",."), 0.0) for word in one.text.split())
            for one in examples
        ]
        return np.array([[value, 0.0] for value in sums])


def sentence(person: str = "Ada", town: str = "Bonn", relation: int = 0) -> Example:
    text = f"The quiet painter {person} moved to {town}."
    spans = ((text.index(x), text.index(x) + len(x)) for x in (person, town))
    return Example(text, *spans, relation, "PER", "LOC")


def attack(read: Words, **settings: object) -> Attack:
    swaps = EntitySwap([sentence(), sentence("Ben", "Cork"), sentence("Cleo", "Lund")])
    return Attack(read, Fixed(), swaps, AttackConfig(**settings))  # type: ignore[arg-type]


def test_synonyms_are_taken_by_importance_until_the_label_flips() -> None:
    read = Words(-2.5, moved=2.0, painter=1.0, quiet=0.1, drawer=0.2, artist=0.6, went=1.0,
                 walked=1.5)  # fmt: skip
    [flip] = attack(read).flips("synonyms", [sentence()], np.random.default_rng(0))
    # 0.6 at first; "moved" matters most and "went" brings it to -0.4: no second word is needed
    assert flip is not None
    assert flip.after.text == "The quiet painter Ada went to Bonn."
    assert (flip.edits, flip.said, flip.kind) == (1, 1, "synonyms")
    assert read.read == 1 + 3 + 2  # itself, three words left out, two synonyms read
    read = Words(-2.0, moved=2.0, painter=1.0, drawer=0.2, artist=0.6, went=1.5, walked=1.6)
    [flip] = attack(read).flips("synonyms", [sentence()], np.random.default_rng(0))
    assert flip is not None and flip.edits == 2
    assert flip.after.text == "The quiet drawer Ada went to Bonn."


def test_a_synonym_that_makes_the_label_surer_is_not_taken() -> None:
    # "moved" matters most, and both of its synonyms say the label more surely
    read = Words(-1.9, moved=2.0, painter=0.5, went=4.0, walked=4.0, drawer=-1.0, artist=0.4)
    [flip] = attack(read).flips("synonyms", [sentence()], np.random.default_rng(0))
    assert flip is not None and flip.edits == 1
    assert flip.after.text == "The quiet drawer Ada moved to Bonn."


def test_a_robust_classifier_is_not_misled_and_the_budget_holds() -> None:
    read = Words(5.0)
    for kind in ("synonyms", "entity_swap", "distractors"):
        read.read = 0
        flips = attack(read, budget=7).flips(
            kind, [sentence(), sentence("Ben")], np.random.default_rng(0)
        )
        assert flips == [None, None]
        assert 0 < read.read <= 14


def test_names_and_clauses_that_mislead_are_found() -> None:
    read = Words(1.0, Cleo=-3.0, Lund=-0.1)
    [flip] = attack(read).flips("entity_swap", [sentence()], np.random.default_rng(0))
    assert flip is not None
    assert flip.after.text[slice(*flip.after.head)] == "Cleo"
    changed = flip.after.text[slice(*flip.after.tail)] != "Bonn"
    assert flip.edits == 1 + changed
    read = Words(1.0, newspaper=-3.0)
    [flip] = attack(read).flips("distractors", [sentence()], np.random.default_rng(0))
    assert flip is not None and "newspaper" in flip.after.text and flip.edits == 1


def test_the_report_is_of_what_was_right() -> None:
    read = Words(1.0, Cleo=-3.0, moved=0.0, newspaper=-3.0)
    examples = [sentence(), sentence("Ben"), sentence("Cleo"), sentence(relation=1)]
    report, flips = attack_report(
        attack(read, kinds=("synonyms", "entity_swap")), examples, np.random.default_rng(0)
    )
    # "Cleo" is said to be label 1 and the last one is: both are wrong before any rewrite
    assert report["attacked"] == 2
    assert report["attack_rate_synonyms"] == 0
    assert report["attack_rate_entity_swap"] == report["attack_rate"] == 1
    assert [flip.before for flip in flips] == examples[:2]
    assert report["attack_edits"] == 2
    report, flips = attack_report(attack(Words(-1.0)), examples[:2], np.random.default_rng(0))
    assert (report["attacked"], report["attack_rate"], flips) == (0, 0, [])


@pytest.mark.parametrize("kind", ["synonyms", "entity_swap", "distractors"])
def test_sentences_do_not_depend_on_their_company(kind: str) -> None:
    read = Words(-2.0, moved=2.0, painter=1.0, drawer=0.2, went=1.5, Cleo=-3.0, newspaper=-2.0)
    whole = attack(read).flips(
        kind, [sentence(), sentence("Ben", "Cork")], np.random.default_rng(0)  # type: ignore[arg-type]
    )  # fmt: skip
    alone = attack(read).flips(kind, [sentence()], np.random.default_rng(0))  # type: ignore[arg-type]
    assert whole[0] == alone[0]
