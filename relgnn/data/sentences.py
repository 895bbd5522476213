"""Sentence boundaries by rules, with offsets kept."""

from __future__ import annotations

import re

# What ends a sentence, with the quotes and brackets that close after it.
_STOP = re.compile(r"[.!?]+[\"'”’»)\]]*|[。！？]+[」』”’）]*|\n[ \t]*\n")
_LAST_WORD = re.compile(r"[\w&'’.\-]+$")
_SPACE = re.compile(r"\s*")
# How a sentence starts that lost the space before it; "Obl.S.B." and "J.Hud" are not that.
_GLUED_START = re.compile(
    r"[\"“‘(]?(?:[^\W\d_a-z][^\W\d_A-Z][\w’'\-]*[\s,.]|[AI] |[A-Z]{2,}(?:['’]s)? )"
)
_OPENING = "\"'“‘«([¿¡"

# A name, a number or a place always follows these: never a sentence's last word.
_TITLES = frozenset(
    """mr mrs ms dr prof st ste mt ft gen col capt cpt lt sgt maj cmdr adm rev fr hon gov sen rep
    pres msgr br mme mlle vs cf ca c fl approx no nos vol vols pp ed eds al e.g i.e op lit
    jan feb mar apr jun jul aug sept sep oct nov dec fig dept univ lat pron abbr viz est b d r m
    ger rus russ arab heb jap chin pinyin skt gk""".split()
)
# These end a sentence only where the next word is one that opens sentences.
_SUFFIXES = frozenset("jr sr inc ltd co corp bros etc esq ph.d m.d b.a m.a a.m p.m".split())
_OPENERS = frozenset(
    """The A An He She It They We I You His Her Its Their This That These Those There In On At For
    From With By After Before During Since Until While When Where Although Though However
    Moreover Furthermore Also As But And Both Many Most Some Several Other Another Each Along
    According Despite Because Between Under Through Today Now Later Following Although One Its
    Among If To Over First Early Originally Additionally Currently""".split()
)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a text.

    Knows abbreviations ("St.", "e.g."), initials ("D. H. Lawrence") and dotted acronyms ("U.S."),
    and cuts sentences that lost the space between them ("Africa.Africa hosts").

    Args:
        text: any text.

    Returns:
        (start, end) character offsets, in order, without surrounding white space. Every character
        that is not white space lies in exactly one span.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for stop in _STOP.finditer(text):
        if _is_boundary(text, start, stop):
            _append_stripped(spans, text, start, stop.end())
            start = stop.end()
    _append_stripped(spans, text, start, len(text))
    return spans


def first_sentence(text: str) -> str:
    """The first sentence of a text; "" where it has none."""
    spans = split_sentences(text)
    return text[slice(*spans[0])] if spans else ""


def _append_stripped(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left < len(piece):
        spans.append((start + left, start + len(piece.rstrip())))


def _is_boundary(text: str, start: int, stop: re.Match[str]) -> bool:
    if stop.group()[0] in "。！？\n":
        return True
    end = stop.end()
    rest = text[end : end + 60]
    if not rest.strip():
        return True
    word = _last_word(text, start, stop.start())
    if rest[0].isspace():
        return _opens(rest.lstrip()) and _may_end(word, stop.group(), rest, text, start)
    return _is_glued(word, stop.group(), rest)


def _last_word(text: str, start: int, end: int) -> str:
    # 40 characters reach over any word; looking back further would be quadratic on odd input.
    found = _LAST_WORD.search(text[max(start, end - 40) : end])
    return found.group() if found else ""


def _opens(rest: str) -> bool:
    """Whether a sentence can begin so: with a capital, a digit or a letter that has no case."""
    bare = rest.lstrip(_OPENING)
    if not bare:
        return False
    letter = bare[0]
    return letter.isdigit() or letter.isupper() or (letter.isalpha() and not letter.islower())


def _may_end(word: str, stop: str, rest: str, text: str, start: int) -> bool:
    if stop[0] != "." or stop.startswith("..") or not word:
        return True
    if stop == "." and _is_title(word):
        return word.lower() == "no" and not rest.lstrip()[0].isdigit()
    if word.isdigit() and len(word) <= 2 and _numbers_an_item(word, text, start):
        return False
    is_initial = len(word) == 1 and word.isupper()
    is_acronym = re.fullmatch(r"(?:\w\.)+\w", word) is not None
    if is_initial or is_acronym or word.lower() in _SUFFIXES:
        opener = re.match(r"\s*[\"'“‘(]*(\w+)[\s,]", rest)
        return opener is not None and opener.group(1) in _OPENERS
    return True


def _numbers_an_item(word: str, text: str, start: int) -> bool:
    """Whether a sentence begins with this number, as items of a list do: "12. Wash the rice"."""
    # a copy of the rest of the text at every stop would be quadratic
    space = _SPACE.match(text, start)
    return space is not None and text.startswith(f"{word}.", space.end())


def _is_title(word: str) -> bool:
    # "c. 1500" is circa, but "C." in "Washington, D. C." is an initial.
    return word in _TITLES if len(word) == 1 else word.lower() in _TITLES


def _is_glued(word: str, stop: str, rest: str) -> bool:
    """Whether a stop without a space after it still ends a sentence, as in "Janick.In 1992"."""
    if stop[0] not in ".?" or stop.startswith("..") or "." in word or _is_title(word):
        return False
    ends_word = not word or re.search(r"[^\W_]{2}$|\d$", word) is not None
    return ends_word and _GLUED_START.match(rest) is not None
