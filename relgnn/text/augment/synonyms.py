"""Words in the place of others that mean nearly the same."""

from __future__ import annotations

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.runtime import optional_import
from relgnn.text.augment.base import Augmenter, Edit, content_words, edited

ENDINGS = ("ing", "ed", "ly", "s")
"""English inflection that a synonym shares: a plural for a plural, a past tense for another."""

BLOCK = 256
"""Words whose neighbours are found in one product."""


class Lexicon(ABC):
    """Says which words may stand for another; what was asked once is remembered."""

    def __init__(self) -> None:
        self._known: dict[str, Sequence[str]] = {}

    def synonyms(self, word: str) -> Sequence[str]:
        """Synonyms of a word in small letters, the best first."""
        if word not in self._known:
            self.prepare([word])
        return self._known[word]

    def prepare(self, words: Iterable[str]) -> None:
        """Look up, all at once, what will be asked."""
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        self._known.update(zip(new, self.look_up(new), strict=True))

    @abstractmethod
    def look_up(self, words: Sequence[str]) -> list[Sequence[str]]:
        """Synonyms of each word in small letters, the best first."""


class Neighbours(Lexicon):
    """Words whose input embeddings in a language model are nearest by cosine.

    They are found in training on raw text alone, so antonyms are among them: a smaller cosine buys
    more rewrites and less sense.

    Args:
        network: a Hugging Face model.
        tokenizer: whose words that are one token are known.
        count: most synonyms of a word.
        min_similarity: least cosine.
    """

    def __init__(
        self, network: Any, tokenizer: Any, count: int = 5, min_similarity: float = 0.4
    ) -> None:
        super().__init__()
        self.count, self.min_similarity = count, min_similarity
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        # "Ġ" and "▁" are how vocabularies of bytes and of sentence pieces write the space before
        bare = dict.fromkeys(token.lstrip("Ġ▁") for token in tokens)
        words = [word for word in bare if word.isalpha() and word.islower() and len(word) > 2]
        asked = [f" {word}" for word in words]
        # a tokenizer may know no word at all, as one of characters does not
        ids = tokenizer(asked, add_special_tokens=False)["input_ids"] if asked else []
        whole = [(word, own[0]) for word, own in zip(words, ids, strict=True) if len(own) == 1]
        self.words = [word for word, _ in whole]
        self.place = {word: i for i, word in enumerate(self.words)}
        weight = network.get_input_embeddings().weight.detach()
        self.vectors = normalize(weight[[i for _, i in whole]].float().cpu(), dim=1)

    def look_up(self, words: Sequence[str]) -> list[Sequence[str]]:
        """See `Lexicon`."""
        found: dict[str, Sequence[str]] = {}
        known = [word for word in words if word in self.place]
        for start in range(0, len(known), BLOCK):
            part = known[start : start + BLOCK]
            rows = self.vectors[[self.place[word] for word in part]]
            for word, cosines in zip(part, rows @ self.vectors.T, strict=True):
                found[word] = self._nearest(word, cosines)
        return [found.get(word, ()) for word in words]

    def _nearest(self, word: str, cosines: Tensor) -> Sequence[str]:
        near = (cosines >= self.min_similarity).nonzero()[:, 0]
        ordered = (self.words[i] for i in near[cosines[near].argsort(descending=True)].tolist())
        alike = [other for other in ordered if other != word and _ending(other) == _ending(word)]
        return alike[: self.count]


class WordNet(Lexicon):
    """Words of the same synset (Miller, 1995), of the most frequent sense first.

    Only words in their base form have synonyms, as those of the others would need inflecting.

    Args:
        folder: in WordNet's own format: index.noun, data.noun and so on.
        count: most synonyms of a word.

    Raises:
        InputError: the folder or the package nltk is missing.
    """

    def __init__(self, folder: Path, count: int = 5) -> None:
        super().__init__()
        self.count = count
        self.reader = _wordnet(folder)

    def look_up(self, words: Sequence[str]) -> list[Sequence[str]]:
        """See `Lexicon`."""
        return [self._synonyms(word) for word in words]

    def _synonyms(self, word: str) -> Sequence[str]:
        senses = [sense.lemma_names() for sense in self.reader.synsets(word)]
        names = [name for sense in senses if word in sense for name in sense]
        others = dict.fromkeys(name for name in names if name.isalpha() and name.islower())
        return [name for name in others if name != word][: self.count]


class Synonyms(Augmenter):
    """Puts synonyms in the place of a share of the words outside of both mentions.

    Args:
        lexicon: where synonyms are from.
        share: of the words of content, at least one.
    """

    def __init__(self, lexicon: Lexicon, share: float = 0.15) -> None:
        self.lexicon, self.share = lexicon, share

    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """See `Augmenter`."""
        self.lexicon.prepare(words_of(examples))
        return [self._rewrite(one, generator) for one in examples]

    def _rewrite(self, one: Example, generator: np.random.Generator) -> Example | None:
        words = content_words(one)
        known = [edits for span in words if (edits := replacements(one, span, self.lexicon))]
        if not known:
            return None
        count = min(len(known), max(1, round(self.share * len(words))))
        chosen = generator.choice(len(known), count, replace=False)
        return edited(one, [known[i][generator.integers(len(known[i]))] for i in chosen])


def words_of(examples: Iterable[Example]) -> Iterator[str]:
    """The words of content of all sentences, in small letters."""
    for one in examples:
        for start, end in content_words(one):
            yield one.text[start:end].lower()


def replacements(one: Example, span: tuple[int, int], lexicon: Lexicon) -> list[Edit]:
    """A word of the sentence replaced by each of its synonyms, written as it is written."""
    word = one.text[slice(*span)]
    for written in (str.lower, str.capitalize, str.upper):
        if written(word) == word:
            return [(*span, written(other)) for other in lexicon.synonyms(word.lower())]
    return []


def _ending(word: str) -> str:
    return next((ending for ending in ENDINGS if word.endswith(ending)), "")


def _wordnet(folder: Path) -> Any:
    with optional_import("wordnet"):
        import nltk
        from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):
        """Reads English alone, and needs no `lexnames`, which Debian's package lacks."""

        def open(self, file: str) -> Any:
            if file == "lexnames":
                return io.StringIO("".join(f"{i:02d} file{i} 1\n" for i in range(45)))
            return super().open(file)

        def map_wn(self, version: str = "") -> None:
            return None

    # nltk reads from folders on its search path alone
    nltk.data.path.append(str(folder.resolve()))
    try:
        with warnings.catch_warnings(action="ignore"):  # it misses the other languages
            return Reader(str(folder.resolve()), None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"augmentation.wordnet: {folder} cannot be read as WordNet ({type(error).__name__}); "
            "give the folder that holds index.noun and data.noun"
        ) from None
