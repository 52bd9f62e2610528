"""What a format is, and the registry of all formats."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from memprop.registry import Registry

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files that a trace can be written in.

    Attributes:
        name: how users name it.
        suffix: how the name of such a file ends.
        encode: from a trace to the bytes of the file.
    """

    registry: ClassVar["Registry[Format]"]

    name: str
    suffix: str
    encode: "Callable[[Trace], bytes]"


FORMATS: Final = Registry[Format]("format", lambda entry: entry.name)

Format.registry = FORMATS
