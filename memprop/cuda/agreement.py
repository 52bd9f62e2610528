"""How far predictions for a GPU were from what a real one did.

35 training steps were recorded on one H100 with PyTorch 2.11, and are simulated by the tests of
memprop: reports/cuda has the table.
"""

from typing import Final

MEASURED_ON: Final = "h100"
"""The only GPU that predictions were compared with."""
ALLOCATED_MARGIN: Final = 0.005
"""The peak of allocated bytes was off by at most this fraction; the median is 0."""
RESERVED_MARGIN: Final = 0.09
"""The peak of reserved bytes was off by at most this fraction; the median is 0."""
