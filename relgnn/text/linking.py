"""Wide, cheap mention linking: names, parts of names (surnames), stems, demonyms."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

WORD = re.compile(r"[^\W_]+(?:['’.&-][^\W_]+)*\.?", re.UNICODE)
EXACT, PART, STEM, IMPLIED, COREFERENT = 0, 1, 2, 3, 4
KINDS = ("exact", "part", "stem", "implied", "coreferent")

_SUFFIXES = (
    "ologists ologist ological ology ographers ographer ography ically ations ation ators ator "
    "istics istic icians ician icist ianism ians ian ists ist isms ism ings ing ions ion ives ive "
    "ally als al ers er ors or ese ish ans an ics ic ies ied ity ments ment ed es s y e a o i"
).split()
_STOP = frozenset(
    "the of and in for on at to a an by with from as de la le van von der den del di da and or its"
    " united states new people party university institute academy college national international "
    "association organization society school church language languages person human member first "
    "republic union kingdom empire world great south north east west central american".split()
)


@dataclass(frozen=True)
class Mention:
    """Characters [start, end) of a sentence that may name `entity`; `kind` indexes `KINDS`."""

    start: int
    end: int
    entity: int
    kind: int


@cache
def related_words() -> dict[str, tuple[str, ...]]:
    """Words that stand for a name no stem leads to: demonyms, activities ("french": "france")."""
    related: dict[str, tuple[str, ...]] = {}
    text = files("relgnn.text").joinpath("related_words.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        word, name = line.split("\t")
        related[word] = (*related.get(word, ()), name)
    return related


# bounded: a corpus has no end of words
@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The word without its longest known ending, at least four letters; lower case.

    Deliberately crude ("painter" and "painting" meet at "paint", "Italian" and "Italy" at
    "ital"): whoever scores the pair decides, linking only has to reach it.
    """
    word = _norm(word)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)]
    return word


def forget() -> None:
    """Drop the words of texts that were linked, which are kept only to be quick."""
    stem.cache_clear()


def plain_name(name: str) -> str:
    """The name without what stands in brackets at its end: "Selena (film)" -> "Selena"."""
    return re.sub(r"\s*\([^)]*\)\s*$", "", name).strip() or name


class _Names:
    """A trie over the words of names: where no name goes on, the search ends."""

    __slots__ = ("entities", "longer")

    def __init__(self) -> None:
        self.entities: list[int] = []
        self.longer: dict[str, _Names] = {}

    def add(self, words: Iterable[str], entity: int) -> None:
        """Enter a name of `entity`."""
        node = self
        for word in words:
            node = node.longer.setdefault(word, _Names())
        _append(node.entities, entity)

    def find(self, words: Iterable[str]) -> list[int]:
        """Entities of exactly this name."""
        node: _Names | None = self
        for word in words:
            node = node.longer.get(word) if node else None
        return node.entities if node else []


class MentionLinker:
    """Finds which entities a sentence may mention, generously: a later judge weeds out.

    A word or run of words links to an entity when it is the entity's name or alias (`exact`), one
    telling word of a longer name, such as a surname (`part`), or shares its stem with a
    telling word of the name or is related to the name, as a demonym is (`stem`). All indices are
    built once and hashed, so that the time of a sentence does not grow with the number of names.

    Args:
        names: one name for each entity; empty names never link.
        aliases: further names for each entity.
        limit: a word that would link to more entities than this links to none of them by part or
            stem: it tells nothing.
    """

    def __init__(
        self,
        names: Sequence[str],
        aliases: Sequence[Iterable[str]] | None = None,
        *,
        limit: int = 40,
    ) -> None:
        self.names = _Names()
        parts: dict[tuple[str, bool], list[int]] = defaultdict(list)
        stems: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for entity, name in enumerate(names):
            for form in (name, *(aliases[entity] if aliases else ())):
                words = _words(plain_name(form))
                if not words:
                    continue
                self.names.add(words, entity)
                for match in WORD.finditer(plain_name(form)):
                    word, proper = _norm(match.group()), match.group()[0].isupper()
                    if len(word) > 2 and word not in _STOP:
                        if len(words) > 1:
                            _append(parts[word, proper], entity)
                        _append(stems[stem(word), proper], entity)
        self.parts = {k: v for k, v in parts.items() if len(v) <= limit}
        self.stems = {k: v for k, v in stems.items() if len(v) <= limit}
        related = {
            word: [entity for name in stands_for for entity in self.names.find(_words(name))]
            for word, stands_for in related_words().items()
        }
        self.related = {word: entities for word, entities in related.items() if entities}

    def link(self, sentence: str) -> list[Mention]:
        """Mentions in `sentence`, one for each entity (the surest and earliest), by position."""
        best: dict[int, Mention] = {}
        for mention in self.mentions(sentence):
            known = best.get(mention.entity)
            if known is None or (mention.kind, mention.start) < (known.kind, known.start):
                best[mention.entity] = mention
        return sorted(best.values(), key=lambda m: (m.start, m.end, m.entity))

    def mentions(self, sentence: str) -> Iterator[Mention]:
        """Every mention in `sentence`, by where it starts."""
        found = list(WORD.finditer(sentence))
        spans = [(m.start(), m.start() + len(_bare(m.group())), _norm(m.group())) for m in found]
        for i, (start, end, word) in enumerate(spans):
            node = self.names
            for j in range(i, len(spans)):
                _, last, following = spans[j]
                longer = node.longer.get(following)
                if longer is None:
                    break
                node = longer
                for entity in node.entities:
                    yield Mention(start, last, entity, EXACT)
            for entity in self.related.get(word, ()):
                yield Mention(start, end, entity, STEM)
            if len(word) < 3 or word in _STOP:
                continue
            # A word of a proper name must be written with a capital; a common noun may be.
            for proper in (False, True) if found[i].group()[0].isupper() else (False,):
                for entity in self.parts.get((word, proper), ()):
                    yield Mention(start, end, entity, PART)
                for entity in self.stems.get((stem(word), proper), ()):
                    yield Mention(start, end, entity, STEM)


def _bare(word: str) -> str:
    """The word without a full stop or an apostrophe-s at its end."""
    word = word.rstrip(".")
    return word[:-2] if word[-2:].lower() in ("'s", "’s") else word


def _norm(word: str) -> str:
    return _bare(word).lower()


def _words(text: str) -> list[str]:
    return [_norm(m.group()) for m in WORD.finditer(text)]


def _append(entities: list[int], entity: int) -> None:
    # they come one after the other, so that only the last one may be there already
    if not entities or entities[-1] != entity:
        entities.append(entity)
