"""Is this machine ready? Each line of `alfworld-sft doctor` says fine, or what to type."""
