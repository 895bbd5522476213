"""Whom a sentence speaks of where its subject is a pronoun or "the band": rules for English."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from relgnn.data import KnowledgeGraph, Sentence
from relgnn.text.linking import COREFERENT, EXACT, PART, Mention

PERSON, THING, GROUP, UNKNOWN = "person", "thing", "group", ""
_KINDS = {"he": (PERSON,), "she": (PERSON,), "it": (THING, GROUP), "they": (GROUP,)}

_PERSONS = frozenset(
    """human person man woman character actor actress artist architect author astronaut athlete
    bishop businessman businesswoman chemist comedian composer conductor dancer director economist
    emperor empress engineer footballer guitarist historian inventor journalist judge king lawyer
    mathematician model monarch musician novelist painter philosopher photographer physician
    physicist pianist playwright poet politician pope president prince princess producer queen
    rapper saint scientist sculptor singer songwriter statesman theologian violinist
    writer""".split()
)
_GROUPS = frozenset(
    """band group duo trio quartet quintet team orchestra choir ensemble family tribe people
    dynasty siblings brothers sisters""".split()
)
# What "novelist" is: a word for people, not a person.
_WORDS = frozenset("profession occupation position title genre".split())
_WOMEN = frozenset("woman actress businesswoman empress queen princess".split())
_MEN = frozenset("man businessman emperor king prince pope statesman".split())
# Of an entity without types: likely a person, or a river or a newspaper; nobody is sure.
_AGENT = re.compile(r".(?:er|or|ist|ian|man|woman|ess)$")
# A noun phrase ends where its complement begins.
_COMPLEMENT = re.compile(
    r"\(.*|(?<![-\w])(?:in|of|on|at|from|by|for|with|to|near|who|whom|which|that|whose|based|born"
    r"|formed|founded|located|known|written|directed|between|within|during|since)\b(?!-).*",
    re.DOTALL,
)
_SEVERAL = re.compile(r"[,;/&]|\band\b|\bor\b")

# The first words that may stand before the subject: "In 1990, he", "Later she".
_INTRO = r"(?:[A-Z][^,;:]{0,80},\s+|(?:Later|Then|Today|Now|But|And|In(?:\s+\w+)?\s+\d{4})\s+)?"
_VERB = (
    r"(?:is|was|are|were|has|had|have|can|could|will|would|may|might|must|did|does|do|also|then"
    r"|later|now|still|never|often|first|soon|once|currently|originally|formerly|officially|began"
    r"|became|won|sold|made|took|went|came|broke|grew|rose|led|left|held|wrote|sang|met|gave|found"
    r"|built|saw|kept|lost|ran|lies|includes|consists|contains|borders|operates|produces|remains"
    r"|serves|belongs|hosts|covers|plays|owns|employs|provides|offers|[a-z]+ed)"
)
_SUBJECT = re.compile(
    rf"{_INTRO}(?:(?P<pronoun>[Hh]e|[Ss]he|[Ii]t|[Tt]hey)\b"
    rf"|(?P<description>(?:[Tt]he|[Tt]his)\s+(?P<noun>[a-z]+))(?=,|\s+{_VERB}\b))"
)
# A name may follow only what is no list: "In 1990, Bonn", not "It spread to Bonn, Cork".
_OPENINGS = (
    re.compile(r"(?:[Tt]he\s+)?"),
    re.compile(
        r"(?:(?:In|On|At|By|During|After|Before|Since|Until|From|Following|However|Today|Then|Also"
        r"|Later|Furthermore|Moreover|Meanwhile|[A-Z]\w+ly)\b[^,;:]{0,80},|Later|Then|Today|Now|But"
        r"|And|In(?:\s+\w+)?\s+\d{4})\s+(?:[Tt]he\s+)?"
    ),
)
_JOINED = re.compile(r"\s*(?:,|,?\s*(?:and|or)\b|&)\s*(?:the\s+)?")
# "It is said that", "it was possible to", "it rained": nobody is meant.
_EXPLETIVE = re.compile(
    r"(?:['’]s|\s+(?:is|was|has\s+been|had\s+been|seem(?:s|ed)|appear(?:s|ed)))\s+"
    r"(?:(?:\S+\s+){0,4}?(?:that|who|whether)\b|(?:\w+ly\s+)?(?:possible|impossible|difficult|easy"
    r"|hard|necessary|important|common|best)\s+(?:to|for)\b)|\s+(?:rain|snow|took|takes)"
)

_FUNCTION_WORDS = {
    "en": "the of and in was is to a his her he she it they with that for by were on from as at",
    "de": "der die das und in ist war von den des im ein eine mit er sie es zu wurde dem auf",
    "fr": "le la les de des du et en est un une dans il elle par pour que qui sur au a",
    "es": "el la los las de del y en es un una que se por con para su fue he al lo a",
    "it": "il la lo i gli di del della e in è un una che per con da si nel fu a",
    "pt": "o a os as de do da e em é um uma que se por com para foi no na",
    "nl": "de het een van en in is was op te dat die met voor hij zij ze werd als aan",
}
_LANGUAGES = {name: frozenset(words.split()) for name, words in _FUNCTION_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")


def is_english(text: str) -> bool:
    """Whether more of its words are English function words than those of any other language."""
    words = [word.lower() for word in _WORD.findall(text)]
    counts = {name: sum(w in known for w in words) for name, known in _LANGUAGES.items()}
    english = counts.pop("en")
    return english > max(counts.values())


def head_nouns(phrase: str) -> frozenset[str]:
    """The nouns that a noun phrase is about: "American actor and singer from Ohio": both."""
    parts = _SEVERAL.split(_COMPLEMENT.sub("", phrase))
    words = [_WORD.findall(part) for part in parts]
    return frozenset(found[-1].lower() for found in words if found)


@dataclass(frozen=True)
class _Traits:
    kind: str
    pronoun: str
    nouns: frozenset[str]

    @classmethod
    def of(cls, types: Iterable[str], description: str) -> _Traits:
        """Labels of types decide the kind where there are any, else the description does."""
        typed = frozenset(noun for label in types for noun in head_nouns(label))
        described = head_nouns(description)
        nouns = typed | described
        women, men = bool(nouns & _WOMEN), bool(nouns & _MEN)
        pronoun = "" if women == men else "she" if women else "he"
        deciding = typed or described
        if typed & _WORDS:
            kind = THING
        elif deciding & _PERSONS:
            kind = PERSON
        elif not deciding or (not typed and any(_AGENT.search(noun) for noun in deciding)):
            kind = UNKNOWN
        else:
            kind = GROUP if deciding & _GROUPS else THING
        return cls(kind, pronoun, nouns)

    def fits(self, pronoun: str | None, noun: str | None) -> bool | None:
        """Whether the words can stand for the entity; None where nothing is known of it."""
        if noun is not None:
            return noun in self.nouns if self.nouns else None
        assert pronoun is not None
        if self.kind == UNKNOWN:
            return None
        return self.kind in _KINDS[pronoun] and not (
            self.kind == PERSON and self.pronoun and self.pronoun != pronoun
        )


@dataclass(frozen=True)
class _Before:
    """Of the sentence before: who its subject may be, and all whom it names."""

    subjects: frozenset[int] = frozenset()
    named: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Coreference:
    """Resolves pronouns and definite descriptions that are the subject of a sentence.

    A subject "he", "she", "it" or "they" stands for the entity whose page it is, or for the one
    that is the subject of the sentence before; "the band" too, where the head noun of one of its
    types or of its description is that word. It must fit (a person, a thing, a group; the gender,
    where the description or the pronouns of the page tell it), nobody else may fit as well, and a
    paragraph is a world of its own: what was named in another is unknown in it, but for the page's
    entity in the first. An entity of which neither types nor a description are known is never
    resolved to, and stands in everybody's way. Of a text that is not English nothing is resolved.
    Subject continuity as in centering (Grosz et al., 1995), without its preferences: where they
    would have to decide, nothing is linked.

    Args:
        graph: types, their labels, and descriptions.
    """

    graph: KnowledgeGraph = field(repr=False)

    @cached_property
    def _traits(self) -> list[_Traits]:
        labels, graph = self.graph.type_labels, self.graph
        return [
            # A type without a label is readable only where its id is a word, not "Q5".
            _Traits.of([labels.get(t) or t for t in types if labels.get(t) or t.isalpha()], said)
            for types, said in zip(graph.types, graph.entity_descriptions, strict=True)
        ]

    @cached_property
    def persons(self) -> tuple[int, ...]:
        """Entities whose types, or else whose descriptions, say that they are persons."""
        return tuple(i for i, traits in enumerate(self._traits) if traits.kind == PERSON)

    @cached_property
    def unknown(self) -> tuple[int, ...]:
        """Entities of which neither types nor a description say what they are."""
        return tuple(i for i, traits in enumerate(self._traits) if traits.kind == UNKNOWN)

    def pronoun(self, person: int, page: str) -> str:
        """What the description or else most pronouns of the page say: "he", "she", or ""."""
        return _with_gender(self._traits[person], page).pronoun

    def resolve(
        self, sentences: Sequence[Sentence], mentions: Sequence[Sequence[Mention]]
    ) -> list[Mention | None]:
        """For each sentence of one text the mention that its subject is, None where it is none.

        Args:
            sentences: of one text, in order.
            mentions: what links each of them; an entity that a sentence names in any way gets no
                further mention.
        """
        resolved: list[Mention | None] = [None] * len(sentences)
        whole = " ".join(sentence.text for sentence in sentences)
        if not sentences or not is_english(whole):
            return resolved
        page, traits = sentences[0].entity, {}
        if page is not None:
            traits[page] = _with_gender(self._traits[page], whole)
        paragraph, before = sentences[0].paragraph, _Before()
        page_is_known = page is not None and paragraph == 0
        for i, (sentence, found) in enumerate(zip(sentences, mentions, strict=True)):
            if sentence.paragraph != paragraph:
                paragraph, before, page_is_known = sentence.paragraph, _Before(), False
            names = [m for m in found if m.kind == EXACT and sentence.text[m.start].isupper()]
            named = frozenset(m.entity for m in names)
            subject = _SUBJECT.match(sentence.text)
            if subject is None or _is_expletive(sentence.text, subject):
                subjects = _subjects(sentence.text, [*names, *_own_parts(sentence, found)])
                before = _Before(subjects, named | subjects)
            else:
                known = before.subjects | ({page} if page_is_known and page is not None else set())
                fitting, sure = self._fitting(sentence.text, subject, names, known, before, traits)
                if len(fitting) == 1 and fitting <= sure:
                    [entity] = fitting
                    if all(m.entity != entity for m in found):
                        resolved[i] = Mention(*_span(subject), entity, COREFERENT)
                # Who could not be told apart cannot be told apart in the next sentence either.
                before = _Before(fitting, named | fitting)
            page_is_known = page_is_known or page in before.named
        return resolved

    def _fitting(
        self,
        text: str,
        subject: re.Match[str],
        names: Sequence[Mention],
        known: Collection[int],
        before: _Before,
        own: dict[int, _Traits],
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Everybody whom the subject may mean, and those of them whom it may be linked to."""
        pronoun = subject["pronoun"] and subject["pronoun"].lower()
        rivals = {m.entity for m in names if m.end <= _span(subject)[0]}
        if pronoun not in ("it", "they"):
            # Persons whose gender is unknown, and cities, follow from any place of a sentence; a
            # sentence names too many things for "it" to mean the one that is no subject.
            rivals |= before.named
        # Who is named after the pronoun is seldom meant by it, but nobody else is surer then.
        later = {m.entity for m in names if m.start >= _span(subject)[1]}
        fits = {
            e: own.get(e, self._traits[e]).fits(pronoun, subject["noun"]) for e in {*known, *rivals}
        }
        return (
            frozenset(e for e, said in fits.items() if said is not False),
            frozenset(e for e, said in fits.items() if said and e in known and e not in later),
        )


def _span(subject: re.Match[str]) -> tuple[int, int]:
    return subject.span("pronoun" if subject["pronoun"] else "description")


def _is_expletive(text: str, subject: re.Match[str]) -> bool:
    is_it = subject["pronoun"] is not None and subject["pronoun"].lower() == "it"
    return is_it and _EXPLETIVE.match(text, subject.end("pronoun")) is not None


def _own_parts(sentence: Sentence, mentions: Sequence[Mention]) -> list[Mention]:
    """Where a page calls its entity by a part of its name; elsewhere that may be anybody."""
    return [m for m in mentions if m.entity == sentence.entity and m.kind == PART]


def _subjects(text: str, names: Sequence[Mention]) -> frozenset[int]:
    """Entities that are named as the subject of a sentence: at its opening, several joined."""
    openings = {0, *(found.end() for opening in _OPENINGS if (found := opening.match(text)))}
    subjects: list[Mention] = []
    for m in sorted(names, key=lambda m: (m.start, m.end)):
        # Not "Ada's mother", nor the Bonn of "Bonn University".
        goes_on = re.match(r"['’]s\b|\s+[A-Z]", text[m.end :]) is not None
        joined = any(_JOINED.fullmatch(text, s.end, m.start) for s in subjects)
        if (m.start in openings or joined) and not goes_on:
            subjects.append(m)
    return frozenset(m.entity for m in subjects)


def _with_gender(traits: _Traits, page: str) -> _Traits:
    """The traits with the pronoun that the person's page uses more often than the other."""
    if traits.kind != PERSON or traits.pronoun:
        return traits
    words = [word.lower() for word in _WORD.findall(page)]
    he = sum(word in ("he", "him", "his") for word in words)
    she = sum(word in ("she", "her", "hers") for word in words)
    pronoun = "" if he == she else "he" if he > she else "she"
    return _Traits(traits.kind, pronoun, traits.nouns)
