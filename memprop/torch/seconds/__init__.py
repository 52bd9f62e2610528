"""How long operators take: measured on the device at hand, or from the rates of a GPU."""
