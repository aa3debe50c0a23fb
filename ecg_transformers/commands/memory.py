"""Memory of the processes of the scripts."""

import ctypes

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Larger arrays are mapped, and given back, each by itself: the largest threshold that glibc itself goes to.
_MAPPED_FROM = 32 * 2**20


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next allocation.

    A training step on the CPU allocates what the step before has freed. In between glibc returns it to the system and
    gets it again page by page, which takes 8 % of a step of xresnet1d50 in float32 and 16 % of one of BeatGAN
    (`benchmarks/README.md`). The peak of the memory in use does not change; less of it is returned before the end.

    Returns:
        Whether it does: False where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and musl have none; Windows has no library without a name
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
