"""What torchrun tells each process that it starts; without torch, which not every command needs."""

import os


def count_processes() -> int:
    """1 where torchrun started none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes."""
    return os.environ.get("RANK", "0") == "0"


def find_local_rank() -> int:
    """Of this process among those on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))
