"""Data to train on: the bundled handwritten digits, or a file of the user's."""

from memprop.data.dataset import Dataset as Dataset
from memprop.data.load import load_data as load_data
from memprop.data.load import load_digits as load_digits
