"""Triples and texts in, one immutable `KnowledgeGraph` out."""

from relgnn.data.folder import check_folder
from relgnn.data.graph import STRATA, KnowledgeGraph, Sentence, Text, is_in, sentences_of
from relgnn.data.registry import list_datasets, load, load_default

__all__ = [
    "STRATA",
    "KnowledgeGraph",
    "Sentence",
    "Text",
    "check_folder",
    "is_in",
    "list_datasets",
    "load",
    "load_default",
    "sentences_of",
]
