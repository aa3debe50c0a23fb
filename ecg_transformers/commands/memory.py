"""Memory of the scripts that train."""

import ctypes
import os

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Larger arrays are mapped, and given back, each by itself: the largest threshold that glibc itself goes to.
_MAPPED_FROM = 32 * 2**20
# Environment variables with the user's own settings.
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next allocation.

    A training step on the CPU allocates what the step before has freed. In between glibc returns it to the system and
    gets it again page by page, which takes up to a fifth of a step in float32 (`benchmarks/README.md`). The peak of the
    memory in use does not change, but little is returned before the process ends. The user's own settings for glibc
    have precedence.

    Returns:
        Whether it does: False where the C library is another one, or the user has set the allocation.
    """
    if any(name in os.environ for name in _SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and musl have none; Windows has no library without a name
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
