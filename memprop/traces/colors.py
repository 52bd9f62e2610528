"""One colour per category, everywhere.

From the palettes of Okabe & Ito (2008), and of Tol (2021) for the last, which people with any
common colour blindness tell apart.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CATEGORY_COLORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "parameter": "#0072B2",
        "buffer": "#F0E442",
        "optimizer_state": "#56B4E9",
        "input": "#999999",
        "activation": "#E69F00",
        "activation_gradient": "#D55E00",
        "parameter_gradient": "#009E73",
        "workspace": "#CC79A7",
        "communication": "#882255",
    }
)
"""In the order in which they are stacked: what lives long lies below."""
