"""Speed, memory and scale: each prints the peer's figure beside ours from the same run."""
