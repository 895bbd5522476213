"""Why a triple was predicted: edges, views, sentences, paths, and what would be without them."""
