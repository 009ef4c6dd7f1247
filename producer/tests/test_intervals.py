"""Interval sets against Python's own sets."""

from __future__ import annotations

from itertools import pairwise

from eventlog.intervals import IntervalSet
from hypothesis import given
from hypothesis import strategies as st

INTERVALS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


def numbers(intervals: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in intervals for number in range(first, last + 1)}


def members(found: IntervalSet) -> set[int]:
    return numbers(list(found))


def is_compact(found: IntervalSet) -> bool:
    """Sorted, disjoint, and not even touching."""
    edges = list(found)
    return all(first <= last for first, last in edges) and all(a[1] + 1 < b[0] for a, b in pairwise(edges))


@given(INTERVALS)
def test_made_from_intervals_in_any_order(intervals: list[tuple[int, int]]) -> None:
    made = IntervalSet(intervals)
    assert members(made) == numbers(intervals)
    assert is_compact(made)
    assert len(made) == len(numbers(intervals))


@given(INTERVALS)
def test_add_says_how_many_were_there(intervals: list[tuple[int, int]]) -> None:
    grown, expected = IntervalSet(), set[int]()
    for first, last in intervals:
        new = set(range(first, last + 1))
        assert grown.add(first, last) == len(new & expected)
        expected |= new
        assert members(grown) == expected
        assert is_compact(grown)
    assert all((number in grown) == (number in expected) for number in range(-1, 43))


@given(INTERVALS, INTERVALS)
def test_minus(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    difference = IntervalSet(left).minus(IntervalSet(right))
    assert members(difference) == numbers(left) - numbers(right)
    assert is_compact(difference)


@given(INTERVALS, st.integers(0, 40), st.integers(0, 40))
def test_within(intervals: list[tuple[int, int]], first: int, last: int) -> None:
    assert members(IntervalSet(intervals).within(first, last)) == numbers(intervals) & set(range(first, last + 1))


def test_ranges_are_what_json_gets() -> None:
    assert IntervalSet([(5, 6), (1, 2), (3, 3), (9, 9)]).ranges() == [[1, 3], [5, 6], [9, 9]]
