"""Sizes and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprop.units import format_bytes, format_enough, format_seconds, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0), ("17", 17), ("17 B", 17), ("1 byte", 1), ("3 KiB", 3 * 1024), ("3kb", 3000),
        ("64 MiB", 64 * 1024**2), ("64 MB", 64 * 10**6), ("2 GiB", 2 * 1024**3), ("1.5 KiB", 1536),
        (" .5 MiB ", 2**19), ("2 TiB", 2 * 1024**4), (123, 123),
    ],
)  # fmt: skip
def test_sizes_are_iec_or_decimal(text, size_bytes):
    assert parse_bytes(text) == size_bytes


@given(st.integers(0, 2**60))
def test_whole_numbers_of_bytes_are_exact(size_bytes):
    assert parse_bytes(f"{size_bytes} B") == size_bytes


@given(st.integers(1, 1023), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_what_is_written_is_read_again(count, unit):
    text = format_bytes(parse_bytes(f"{count} {unit}"))
    assert text == f"{count}.0 {unit}"


@given(st.integers(0, 2**60))
def test_what_is_enough_is_no_smaller_and_hardly_larger(size_bytes):
    enough = parse_bytes(format_enough(size_bytes))
    assert size_bytes <= enough <= max(size_bytes + 103, 1.1 * size_bytes)


@pytest.mark.parametrize("text", ["", "MiB", "1 XiB", "-1 MiB", "1 MiB 2", "1e3 KiB", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size in bytes"):
        parse_bytes(text)


def test_durations():
    assert parse_seconds("60 s") == 60
    assert parse_seconds("2 min") == 120
    assert parse_seconds("250 ms") == 0.25
    assert parse_seconds(1.5) == 1.5
    assert [format_seconds(s) for s in (4e-6, 0.0123, 2.5, 75)] == [
        "4.0 us", "12.3 ms", "2.50 s", "1 min 15 s",
    ]  # fmt: skip
    for text in ("", "soon", "0 s", "-1 s"):
        with pytest.raises(ValueError, match="is no duration"):
            parse_seconds(text)
