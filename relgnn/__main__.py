"""`python -m relgnn` is `relgnn`."""

from relgnn.cli import main

main()
