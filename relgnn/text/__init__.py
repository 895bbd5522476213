"""The language-model side: encodings, mention linking, evidence, pair model, relation extractor."""
