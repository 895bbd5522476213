"""Pages of the atlas: sentences of our own, drawn from templates with a seeded generator."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

from relgnn.data.embedded.atlas_source import (
    FOLDER,
    OPEN_BORDER_QUESTIONS,
    SYMMETRIC,
    Entity,
    Facts,
    Triple,
    read_tsv,
)

Part = tuple[str, str]
"""What a page says: ("capital>", other) where the page's entity is the head, "<" the tail."""

STATED = 0.6
ON_HEAD_PAGE = 0.65
IN_INTRODUCTION = 0.8
LONGEST_PAGE = 14
HARD_NOISE = 0.45

_LINKING = ("Today ", "At present ", "For the record, ", "As is well known, ", "In short, ")
_KINDS_WITH_NOISE = {"ocean": "sea", "lake": "sea", "continent": "region"}


@dataclass(frozen=True)
class PageSentence:
    """A sentence and the ids of the entities it names besides the page's own."""

    text: str
    mentions: frozenset[str]


class Writer:
    """Writes the page of any entity.

    Args:
        facts: everything the atlas knows.
        rng: every draw comes from here.
        templates: a file of key, count and template.
    """

    def __init__(
        self, facts: Facts, rng: Random, templates: Path = FOLDER / "source" / "templates.tsv"
    ) -> None:
        """Reads the templates and indexes the facts."""
        self._facts = facts
        self._rng = rng
        self._templates: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for key, count, template in read_tsv(templates):
            self._templates[key].append((count, template))
        self._used: set[str] = set()
        self._related: dict[str, set[str]] = defaultdict(set)
        self._continent: dict[str, str] = {}
        for head, relation, tail in facts.triples:
            self._related[head].add(tail)
            self._related[tail].add(head)
            if relation == "continent":
                self._continent[head] = tail
        self._by_type: dict[str, list[str]] = defaultdict(list)
        for entity in facts.entities.values():
            self._by_type[_noise_kind(entity)].append(entity.id)

    def plan(self) -> dict[str, list[Part]]:
        """Chooses the facts that are stated, and the pages that state them."""
        pages: dict[str, list[Part]] = {key: [] for key in self._facts.entities}
        for head, relation, tail in self._facts.triples:
            if relation == SYMMETRIC and head > tail:
                continue
            if self._rng.random() >= STATED:
                continue
            on_head = self._rng.random() < ON_HEAD_PAGE or len(pages[tail]) >= LONGEST_PAGE
            if on_head:
                pages[head].append((f"{relation}>", tail))
            else:
                # A neighbour's page says the same in the same words.
                mark = ">" if relation == SYMMETRIC else "<"
                pages[tail].append((f"{relation}{mark}", head))
        return pages

    def page(self, key: str, parts: list[Part]) -> list[PageSentence]:
        """Writes one page: an introduction, the planned facts, and sentences that state none."""
        entity = self._facts.entities[key]
        rest = list(parts)
        self._used = set()
        introduction = self._introduction(entity, rest)
        body = self._join(self._fact_sentences(entity, rest))
        body += self._noise(entity, self._rng.choice((1, 1, 2)))
        while len(body) < 2 or self._rng.random() < 0.2:
            plain = f"plain:{_noise_kind(entity)}"
            body += self._fill(plain if plain in self._templates else "plain:other", entity, ())
        unique = list(dict.fromkeys(body))
        self._rng.shuffle(unique)
        return [introduction, *unique]

    def _introduction(self, entity: Entity, rest: list[Part]) -> PageSentence:
        """Writes the first sentence and takes the facts it states out of `rest`."""
        stated = dict.fromkeys(key for key, _ in rest)
        keys = [key for key in stated if f"intro:{key}" in self._templates]
        if keys and self._rng.random() < IN_INTRODUCTION:
            key = self._rng.choice(keys)
            chosen = [part for part in rest if part[0] == key][: self._rng.choice((1, 2, 2))]
            written = self._fill(f"intro:{key}", entity, tuple(o for _, o in chosen))
            if written:
                rest[:] = [part for part in rest if part not in chosen]
                return written[0]
        return self._fill(f"intro:{entity.types[0]}", entity, ())[0]

    def _fact_sentences(self, entity: Entity, parts: list[Part]) -> list[PageSentence]:
        groups: dict[str, list[str]] = defaultdict(list)
        for key, other in parts:
            groups[key].append(other)
        sentences = []
        for key, others in groups.items():
            while others:
                size = self._rng.choice((1, 1, 2, 3, 4))
                taken, others = others[:size], others[size:]
                sentences += self._fill(key, entity, tuple(taken)) or [
                    sentence for one in taken for sentence in self._fill(key, entity, (one,))
                ]
        self._rng.shuffle(sentences)
        return sentences

    def _noise(self, entity: Entity, number: int) -> list[PageSentence]:
        sentences = []
        for _ in range(number):
            key, others = self._noise_candidates(entity)
            if key in self._templates and others:
                sentences += self._fill(key, entity, (self._rng.choice(others),))
        return sentences

    def _noise_candidates(self, entity: Entity) -> tuple[str, list[str]]:
        """A template key and entities that have no fact together with this one."""
        kind = _noise_kind(entity)
        hard = self._rng.random() < HARD_NOISE
        key = f"noise:{kind}"
        if kind == "city" and hard:
            key, kind = "noise:elsewhere", "country"
        others = [
            other
            for other in self._by_type[kind]
            if other != entity.id and other not in self._related[entity.id]
        ]
        if kind == "country" and kind == entity.types[0] and hard:
            key = "noise:apart"
            others = [
                other
                for other in others
                if self._continent[other] == self._continent[entity.id]
                and frozenset((other, entity.id)) not in OPEN_BORDER_QUESTIONS
            ]
        return key, others

    def _fill(self, key: str, entity: Entity, others: tuple[str, ...]) -> list[PageSentence]:
        """One sentence from a random template of `key` that fits, or none."""
        targets = [self._facts.entities[other] for other in others]
        fitting = [
            template
            for count, template in self._templates[key]
            if (count == "*" or (count == "+") == (len(targets) > 1))
            and ("{oa}" not in template or targets[0].adjective)
            and ("{a}" not in template or entity.adjective)
        ]
        if not fitting:
            return []
        template = self._rng.choice([t for t in fitting if t not in self._used] or fitting)
        self._used.add(template)
        # "It" reads well only as the subject that opens a sentence.
        opens = template.startswith("{s} ") and not template.startswith("{s} and")
        subject, possessive = self._subject(entity, opens or "{s}" not in template)
        kind = entity.types[-1] if entity.types[0] == "country" else entity.types[0]
        text = template.format(
            n=entity.phrase,
            s=subject,
            p=possessive,
            a=entity.adjective,
            o=_enumerate([target.phrase for target in targets]),
            oa=targets[0].adjective if targets else "",
            kind=("an " if kind[0] in "aeiou" else "a ") + kind,
        )
        return [PageSentence(_capital(text), frozenset(others))]

    def _subject(self, entity: Entity, pronoun: bool) -> tuple[str, str]:
        noun = entity.types[0]
        name = f"the {entity.phrase}" if noun == "currency" else entity.phrase
        subject = self._rng.choice((f"the {noun}", name, name, *("it", "it") * pronoun))
        owner = {"it": "its"}.get(subject, subject + ("'" if subject.endswith("s") else "'s"))
        return subject, owner

    def _join(self, sentences: list[PageSentence]) -> list[PageSentence]:
        """Puts an opening phrase before some sentences and makes one sentence of some pairs."""
        joined: list[PageSentence] = []
        for sentence in sentences:
            movable = sentence.text.startswith(("It ", "Its "))
            draw = self._rng.random()
            if movable and joined and draw < 0.25:
                link = self._rng.choice((", and ", "; ", ", while "))
                before = joined.pop()
                text = before.text.removesuffix(".") + link + _small(sentence.text)
                joined.append(PageSentence(text, before.mentions | sentence.mentions))
            elif movable and draw < 0.35:
                text = self._rng.choice(_LINKING) + _small(sentence.text)
                joined.append(PageSentence(text, sentence.mentions))
            else:
                joined.append(sentence)
        return joined


def stated_in(
    triple: Triple, node_mentions: dict[str, set[str]], page_mentions: dict[str, set[str]]
) -> str:
    """Where the two ends of a triple meet in the text of either: "feature", "corpus" or "none".

    Args:
        triple: head, relation, tail.
        node_mentions: per entity what its description and its page's first sentence name.
        page_mentions: per entity what the other sentences of its page name.
    """
    head, _, tail = triple
    for name, mentions in (("feature", node_mentions), ("corpus", page_mentions)):
        if tail in mentions[head] or head in mentions[tail]:
            return name
    return "none"


def _noise_kind(entity: Entity) -> str:
    return _KINDS_WITH_NOISE.get(entity.types[0], entity.types[0])


def _enumerate(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), "".join(names[-1:]))))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]
