from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text.augment import Lexicon, Neighbours, Synonyms, WordNet
from relgnn.text.augment.synonyms import replacements
from relgnn.text.encoder import load_model
from tests.text.augment.wordnet import write_wordnet


def test_neighbours_are_the_nearest_words_by_cosine(tiny_bert: str) -> None:
    network, tokenizer = load_model(tiny_bert)
    table = network.get_input_embeddings().weight.detach()
    known = tokenizer.get_vocab()
    words = [word for word in known if word.isalpha() and word.islower() and len(word) > 2]
    found = Neighbours(network, tokenizer, count=3, min_similarity=0.05).synonyms("painter")
    cosine = {
        word: float(torch.cosine_similarity(table[known[word]], table[known["painter"]], dim=0))
        for word in words
        if word != "painter" and not word.endswith(("s", "ing", "ed", "ly"))
    }
    near = [word for word in sorted(cosine, key=lambda x: -cosine[x]) if cosine[word] >= 0.05]
    assert list(found) == near[:3] and near
    lexicon = Neighbours(network, tokenizer, count=99, min_similarity=0.0)
    lexicon.prepare(["lives", "unheard"])
    assert lexicon.synonyms("unheard") == ()
    assert all(word.endswith("s") for word in lexicon.synonyms("lives"))


def test_wordnet_gives_the_members_of_synsets(tmp_path: Path) -> None:
    lexicon = WordNet(write_wordnet(tmp_path / "wordnet"))
    assert lexicon.synonyms("painter") == ["artist"]
    assert lexicon.synonyms("town") == ["city"]  # "small_town" is two words
    assert lexicon.synonyms("saw") == []  # "spot" would need inflecting
    assert lexicon.synonyms("unheard") == []


def test_a_folder_without_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="give the folder that holds index.noun"):
            WordNet(folder)
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("nltk"):
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="extra .wordnet."):
        WordNet(tmp_path)


class Every(Lexicon):
    def look_up(self, words: Any) -> Any:
        return [("thing",) for _ in words]


def test_a_synonym_is_written_as_the_word_was() -> None:
    one = Example("Old OLD old oLd ends", (0, 0), (0, 0), 0)
    written = [replacements(one, span, Every()) for span in ((0, 3), (4, 7), (8, 11), (12, 15))]
    assert written == [[(0, 3, "Thing")], [(4, 7, "THING")], [(8, 11, "thing")], []]


def test_the_share_of_words_is_replaced() -> None:
    text = "Ada " + " ".join(["word"] * 20) + " Bonn"
    one = Example(text, (0, 3), (len(text) - 4, len(text)), 0)
    for share, count in ((0.01, 1), (0.25, 5), (1.0, 20)):
        [new] = Synonyms(Every(), share).augment([one], np.random.default_rng(0))
        assert new.text.split().count("thing") == count
