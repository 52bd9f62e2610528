"""A disk without room, as the kernel has it: what every test of writing files is held against."""

import resource
from contextlib import contextmanager


@contextmanager
def no_room(size):
    """No file may grow beyond ``size`` bytes, as if the disk were full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
