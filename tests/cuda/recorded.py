"""What was recorded on a GPU, for the tests."""

import gzip
import json
from functools import cache
from pathlib import Path

H100 = Path(__file__).parent / "recordings" / "h100"
MODELS = tuple(sorted(path.name.partition(".")[0] for path in (H100 / "models").iterdir()))
SNAPSHOTS = tuple(sorted(path.name.partition(".")[0] for path in (H100 / "snapshots").iterdir()))


@cache
def recording(name):
    """Three training steps of a model: see README.md in the folder."""
    return _load("models", name)


@cache
def snapshot(name):
    """The history that a program had, and its segments at the end."""
    return _load("snapshots", name)


def _load(folder, name):
    return json.loads(gzip.decompress((H100 / folder / f"{name}.json.gz").read_bytes()))
