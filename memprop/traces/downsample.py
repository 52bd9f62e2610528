"""A long step in few pieces: equally long stretches of events, each by its highest."""

import numpy as np


def downsample(total: np.ndarray, most: int) -> np.ndarray:
    """The event with the largest live bytes in each of at most ``most`` stretches, in order.

    The peak is among them. Where there are no more events than that, each is a stretch.

    Args:
        total: live bytes after each event, shape ``(events,)``.
        most: how many stretches at most.
    """
    count = min(most, len(total))
    starts = np.linspace(0, len(total), count, endpoint=False).astype(np.int64)
    stretches = np.split(total, starts[1:])
    return starts + np.array([np.argmax(stretch) for stretch in stretches], dtype=np.int64)
