"""The commands of `relgnn`, one module a subject; each imports what is heavy when it is called."""
