"""The breaker: who fails again and again is left alone, and tried again."""

from __future__ import annotations

import pytest

from gateway.broker.breaker import LONGEST_S, Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 5.0, clock)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(3):
        breaker.failed("late")
    return breaker


def test_a_new_breaker_lets_every_question_through(breaker: Breaker) -> None:
    assert breaker.admits()
    assert breaker.admits()


def test_fewer_failures_than_set_change_nothing(breaker: Breaker) -> None:
    assert not breaker.failed("late")
    assert not breaker.failed("late")
    assert breaker.admits()


def test_so_many_failures_in_a_row_open_it(breaker: Breaker) -> None:
    assert not opened(breaker).admits()
    assert (breaker.failures, breaker.reason, breaker.rests_s) == (3, "late", 5.0)


def test_an_answer_between_failures_begins_the_count_anew(breaker: Breaker) -> None:
    breaker.failed("late")
    breaker.failed("late")
    breaker.succeeded()
    breaker.failed("late")
    assert breaker.admits()


def test_after_the_time_one_question_tries_and_the_others_do_without(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 5.0
    assert breaker.admits()
    assert not breaker.admits()


def test_an_answer_to_the_try_closes_it(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 5.0
    breaker.admits()
    assert breaker.succeeded()
    assert breaker.closed


def test_a_failed_try_doubles_the_time(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 5.0
    breaker.admits()
    assert breaker.failed("unreachable")
    assert breaker.rests_s == 10.0


def test_the_time_does_not_grow_without_end(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    for _ in range(10):
        clock.now += LONGEST_S
        assert breaker.admits()
        breaker.failed("late")
    assert breaker.rests_s == LONGEST_S


def test_a_closed_breaker_begins_with_the_first_time_again(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 5.0
    breaker.admits()
    breaker.failed("late")
    clock.now += 10.0
    breaker.admits()
    breaker.succeeded()
    assert opened(breaker).rests_s == 5.0


def test_a_try_that_was_given_up_leaves_the_next_question_to_try(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 5.0
    breaker.admits()
    breaker.abandoned()
    assert breaker.admits()


def test_an_answer_that_comes_too_late_closes_an_open_one(breaker: Breaker) -> None:
    assert opened(breaker).succeeded()
    assert breaker.admits()


def test_a_failure_of_a_request_from_before_does_not_prolong_it(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 1.0
    assert not breaker.failed("late")
    assert breaker.rests_s == 4.0


def test_what_another_replica_leaves_alone_is_left_alone_here(breaker: Breaker, clock: Clock) -> None:
    breaker.adopt(2.0)
    assert not breaker.admits()
    clock.now += 2.0
    assert breaker.admits()


def test_a_node_that_was_just_heard_here_is_not_left_alone_for_another_replica(breaker: Breaker) -> None:
    breaker.succeeded()
    breaker.adopt(2.0)
    assert breaker.admits()
