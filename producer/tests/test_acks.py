"""The cursor: whatever the order of acknowledgements, it never passes an unsettled event."""

from __future__ import annotations

from eventlog.acks import Acks
from eventlog.spool import Reject
from hypothesis import given
from hypothesis import strategies as st


@given(order=st.permutations(range(1, 30)), repeats=st.lists(st.integers(1, 29)))
def test_the_cursor_stands_before_the_first_gap(order: list[int], repeats: list[int]) -> None:
    acks = Acks(0)
    done: set[int] = set()
    for seq in order:
        acks.acknowledge(seq)
        done.add(seq)
        for again in repeats:
            if again in done:
                acks.acknowledge(again)
        gap = next(number for number in range(1, 31) if number not in done)
        assert acks.settled == gap - 1
        assert all(acks.is_settled(number) == (number in done) for number in range(1, 30))
    assert acks.settled == 29


def test_it_goes_on_from_the_spools_cursor() -> None:
    acks = Acks(500)
    acks.acknowledge(499)
    assert acks.settled == 500
    assert not acks.unsaved()
    acks.acknowledge(501)
    assert acks.settled == 501
    assert acks.unsaved()


def test_a_reject_is_saved_with_the_cursor_that_passes_it() -> None:
    acks = Acks(0)
    reject = Reject(2, "too large", b"body")
    acks.reject(reject)
    assert acks.settlement().rejects == ()
    assert acks.waiting_rejects == 1

    acks.acknowledge(1)
    settlement = acks.settlement()
    assert settlement.settled == 2
    assert settlement.rejects == (reject,)

    acks.saved(settlement)
    assert acks.waiting_rejects == 0
    assert acks.settlement().rejects == ()


def test_an_event_is_rejected_once_and_not_after_its_acknowledgement() -> None:
    acks = Acks(0)
    acks.acknowledge(1)
    acks.reject(Reject(1, "late", b""))
    acks.reject(Reject(2, "first", b""))
    acks.reject(Reject(2, "second", b""))

    assert [reject.reason for reject in acks.settlement().rejects] == ["first"]
