"""Whatever rewrites a sentence keeps its mentions and its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from relgnn.config.augmentation import AttackConfig
from relgnn.data.relations import Example
from relgnn.text.attack import Attack, Misleading
from relgnn.text.augment import (
    Augmenter,
    BackTranslation,
    Distractors,
    EntitySwap,
    Lexicon,
    Neighbours,
    Paraphrase,
    Synonyms,
    WordNet,
)
from relgnn.text.augment import written as written_module
from relgnn.text.encoder import load_model
from tests.text.augment.wordnet import write_wordnet

VERBS = (("was born far from", 0), ("saw the old town and lives in", 1))


def sentences(typed: bool = True) -> list[Example]:
    """Different verbs, orders and types; the last three are awkward."""
    found = []
    for i, person in enumerate(("Ada", "Ben", "Cleo Smith", "Dora")):
        for j, town in enumerate(("Bonn", "Cork", "Lund-Ost")):
            verb, relation = VERBS[(i + j) % 2]
            text = f"The painter {person} {verb} {town}."
            head, tail = ((text.index(x), text.index(x) + len(x)) for x in (person, town))
            types = ("PER", "LOC") if typed else ("", "")
            one = Example(text, head, tail, relation, *types, group=f"{i}")
            found.append(one if j else one._replace(head=tail, tail=head, head_type=types[1],
                                                    tail_type=types[0]))  # fmt: skip
    touching = Example("Ada's painter saw Acme Inc.", (0, 3), (18, 27), 1, group="touching")
    nested = Example("The town of Bonn saw a painter.", (4, 16), (12, 16), 0, group="nested")
    return [*found, touching, nested, Example("Ada, Ben", (0, 3), (5, 8), 0)]


class Fixed(Lexicon):
    """A few synonyms."""

    def look_up(self, words: Sequence[str]) -> list[Sequence[str]]:
        known = {"painter": ("artist", "drawer"), "lives": ("dwells",), "town": ("village",)}
        return [known.get(word, ()) for word in words]


def by_length(examples: Sequence[Example]) -> np.ndarray:
    """Says the right label of short texts alone."""
    right = np.array([one.relation for one in examples])
    long = np.array([len(one.text) > 45 for one in examples])
    return 3.0 * np.eye(2)[np.where(long, 1 - right, right)]


def echo(network: object, tokenizer: object, texts: Sequence[str], *_: object) -> list[str]:
    """What a kind model answers; of every third sentence it forgets a word."""
    said = [text.rpartition("Sentence: ")[2].partition("\nRewritten")[0] for text in texts]
    return [
        " It is said: " + (text.replace("Ada", "she") if i % 3 else text) + "\nNote: done"
        for i, text in enumerate(said)
    ]


class Plain:
    """A tokenizer without a chat template."""

    chat_template = None


KINDS = (
    "neighbours", "lexicon", "wordnet", "typed_swap", "untyped_swap", "distractors",
    "back_translation", "paraphrase", "adversarial",
)  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def augmenter(
    kind: str, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Augmenter:
    monkeypatch.setattr(written_module, "write", echo)
    make: dict[str, Callable[[], Augmenter]] = {
        "neighbours": lambda: Synonyms(Neighbours(*load_model(tiny_bert), 5, 0.0), 0.5),
        "lexicon": lambda: Synonyms(Fixed(), 1.0),
        "wordnet": lambda: Synonyms(WordNet(write_wordnet(tmp_path / "wordnet")), 0.5),
        "typed_swap": lambda: EntitySwap(sentences()),
        "untyped_swap": lambda: EntitySwap(sentences(typed=False)),
        "distractors": Distractors,
        "back_translation": lambda: BackTranslation((None, None), (None, None)),
        "paraphrase": lambda: Paraphrase((None, Plain())),
        "adversarial": lambda: Misleading(
            Attack(by_length, Fixed(), EntitySwap(sentences()), AttackConfig()), "distractors"
        ),
    }
    return make[kind]()


def mentions(one: Example) -> tuple[str, str]:
    return one.text[slice(*one.head)], one.text[slice(*one.tail)]


def test_mentions_and_label_are_kept(kind: str, augmenter: Augmenter) -> None:
    given = sentences(typed=kind != "untyped_swap")
    generator = np.random.default_rng(0)
    rewritten = 0
    for _ in range(3):
        for one in given:
            for new in augmenter.augment([one], generator):
                rewritten += 1
                assert new.text != one.text
                assert new._replace(text="", head=(0, 0), tail=(0, 0)) == one._replace(
                    text="", head=(0, 0), tail=(0, 0)
                )
                for a, b in (new.head, new.tail):
                    assert 0 <= a < b <= len(new.text)
                if kind.endswith("swap"):
                    same_kind(one, new, given)
                else:
                    assert mentions(new) == mentions(one)
    assert rewritten >= 9


def same_kind(one: Example, new: Example, given: Sequence[Example]) -> None:
    """Each mention is its own, or another's of its type (or of its side and relation)."""
    pool = {
        (kind or (other.relation, side), mention)
        for other in given
        for side, (kind, mention) in enumerate(
            zip((other.head_type, other.tail_type), mentions(other), strict=True)
        )
    }
    types = (one.head_type, one.tail_type)
    for side, (kind, mention) in enumerate(zip(types, mentions(new), strict=True)):
        assert (kind or (one.relation, side), mention) in pool
    assert mentions(new) != mentions(one)
    # what stands around the mentions is left as it is
    first, last = sorted((one.head, one.tail)), sorted((new.head, new.tail))
    assert one.text[: first[0][0]] == new.text[: last[0][0]]
    assert one.text[first[0][1] : first[1][0]] == new.text[last[0][1] : last[1][0]]
    assert one.text[first[1][1] :] == new.text[last[1][1] :]


def test_the_generator_decides_all(augmenter: Augmenter) -> None:
    first, second = (
        augmenter.augment(sentences(), np.random.default_rng(3)) for _ in range(2)
    )  # fmt: skip
    assert first == second
    assert augmenter.augment([], np.random.default_rng(3)) == []
