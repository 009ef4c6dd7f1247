"""Sets of whole numbers as sorted, disjoint, inclusive intervals: compact where numbers come in runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class IntervalSet:
    """A mutable set of integers. Its size in memory is that of the runs, not of the numbers."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in sorted(intervals):
            self._append(first, last)

    def _append(self, first: int, last: int) -> None:
        """Add an interval that begins nowhere before the last one does."""
        if first > last:
            return
        if self._ends and first <= self._ends[-1] + 1:
            self._ends[-1] = max(self._ends[-1], last)
        else:
            self._starts.append(first)
            self._ends.append(last)

    def add(self, first: int, last: int) -> int:
        """Add ``first`` to ``last``, both included; returns how many of them were there already."""
        if first > last:
            return 0
        # All intervals from `low` up to `high` overlap or touch the new one and are merged with it.
        low = bisect_left(self._ends, first - 1)
        high = bisect_right(self._starts, last + 1)
        present = sum(
            max(0, min(last, end) - max(first, start) + 1)
            for start, end in zip(self._starts[low:high], self._ends[low:high], strict=True)
        )
        if low < high:
            first, last = min(first, self._starts[low]), max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]
        return present

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number <= self._ends[index]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)!r})"

    def minus(self, other: IntervalSet) -> IntervalSet:
        """The numbers that are in this set and not in ``other``."""
        result = IntervalSet()
        for first, last in self:
            for start, end in other.overlapping(first, last):
                result._append(first, start - 1)
                first = end + 1  # noqa: PLW2901  the rest of this interval
            result._append(first, last)
        return result

    def within(self, first: int, last: int) -> IntervalSet:
        """The numbers from ``first`` to ``last``, both included."""
        return IntervalSet((max(first, start), min(last, end)) for start, end in self.overlapping(first, last))

    def overlapping(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The intervals that have a number from ``first`` to ``last``."""
        low = bisect_left(self._ends, first)
        high = bisect_right(self._starts, last)
        return zip(self._starts[low:high], self._ends[low:high], strict=True)

    def ranges(self) -> list[list[int]]:
        """``[[first, last], …]``, as it goes into JSON."""
        return [[first, last] for first, last in self]
