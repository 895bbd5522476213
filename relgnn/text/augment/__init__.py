"""Rewrites of training sentences that keep mentions and label, each an object of one contract."""

from relgnn.text.augment.base import Augmenter
from relgnn.text.augment.swaps import Distractors, EntitySwap
from relgnn.text.augment.synonyms import Lexicon, Neighbours, Synonyms, WordNet
from relgnn.text.augment.written import BackTranslation, Paraphrase

__all__ = [
    "Augmenter", "BackTranslation", "Distractors", "EntitySwap", "Lexicon", "Neighbours",
    "Paraphrase", "Synonyms", "WordNet",
]  # fmt: skip
