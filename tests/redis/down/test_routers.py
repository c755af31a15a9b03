"""What routers keep about hosts that are down: which are passed over, until when, and who tries them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from pindb.redis import (
    Cluster,
    ClusterConfigError,
    ConsistentHashingRouter,
    HostConnectionError,
    HostListExhausted,
    RetryableRouter,
    RoundRobinRouter,
    create_cluster,
)
from tests.redis.tools import Clock
from tests.threads import in_threads

KINDS = [RoundRobinRouter, ConsistentHashingRouter]
KEYS = [f"key:{i}" for i in range(40)]

both = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def one_down(request: pytest.FixtureRequest, clock: Clock) -> RetryableRouter:
    """A router of three hosts; the host 1 is down as of now, and is tried again after 10 s."""
    router = router_of(request.param, retry_timeout=10)
    router.mark_connection_down(1)
    return router


def router_of(kind: type[RetryableRouter], hosts: int = 3, **options: Any) -> RetryableRouter:
    router = create_cluster(
        {"router": kind, "hosts": [{"port": i + 1} for i in range(hosts)], "router_options": options}
    ).router
    assert isinstance(router, RetryableRouter)
    return router


def used(router: RetryableRouter) -> set[int]:
    """The hosts that many keys are sent to."""
    return {router.get_host_for_key(key) for key in KEYS}


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call returns in another thread."""
    return in_threads(1, lambda _: call())[0]


# ---- down and up ---------------------------------------------------------------------------------


@both
def test_a_host_that_is_down_is_passed_over(kind: type[RetryableRouter], clock: Clock) -> None:
    router = router_of(kind)
    assert used(router) == {0, 1, 2}
    assert router.down_connections == {}
    router.mark_connection_down(1)
    assert used(router) == set(router.get_hosts_for_keys(KEYS)) == set(router.group_keys(KEYS)) == {0, 2}
    router.mark_connection_down(0)
    assert used(router) == set(router.get_hosts_for_keys(KEYS)) == {2}
    assert router.down_connections == {1: clock.now + 5, 0: clock.now + 5}
    router.mark_connection_up(1)
    assert used(router) == {1, 2}
    router.flush_down_connections()
    assert used(router) == {0, 1, 2}
    assert router.down_connections == {}


@both
def test_marking_a_host_up_that_is_not_down_does_nothing(kind: type[RetryableRouter]) -> None:
    router = router_of(kind)
    router.mark_connection_up(1)
    router.mark_connection_up(9)
    assert used(router) == {0, 1, 2}


@both
def test_only_hosts_that_are_there_can_be_down(kind: type[RetryableRouter]) -> None:
    router = router_of(kind)
    with pytest.raises(ClusterConfigError, match="There is no host 3; there are 0, 1, 2"):
        router.mark_connection_down(3)
    assert router.down_connections == {}


def test_a_host_is_used_again_when_its_time_has_come(one_down: RetryableRouter, clock: Clock) -> None:
    clock.now += 9.5
    assert used(one_down) == {0, 2}
    # It refused once more: the time begins anew.
    one_down.mark_connection_down(1)
    clock.now += 9.5
    assert used(one_down) == {0, 2}
    clock.now += 0.5
    assert used(one_down) == {0, 1, 2}
    one_down.mark_connection_up(1)
    assert one_down.down_connections == {}


def test_each_host_has_a_time_of_its_own(one_down: RetryableRouter, clock: Clock) -> None:
    clock.now += 5
    one_down.mark_connection_down(2)
    clock.now += 5
    assert used(one_down) == {0, 1}
    clock.now += 5
    assert used(one_down) == {0, 1, 2}


@both
def test_without_a_time_to_wait_a_host_is_tried_at_once(kind: type[RetryableRouter], clock: Clock) -> None:
    router = router_of(kind, retry_timeout=0)
    router.mark_connection_down(1)
    assert used(router) == {0, 1, 2}


def test_the_times_of_a_subclass_are_its_attributes(clock: Clock) -> None:
    class Hasty(RoundRobinRouter):
        retry_timeout = 2
        attempt_reconnect_threshold = 7

    router = router_of(Hasty)
    router.mark_connection_down(1)
    assert router.down_connections == {1: clock.now + 2}
    assert router_of(Hasty, retry_timeout=3).retry_timeout == 3
    assert router.attempt_reconnect_threshold == 7

    class Wrong(RoundRobinRouter):
        retry_timeout = -1

    with pytest.raises(ClusterConfigError, match="retry_timeout is -1"):
        router_of(Wrong)


def test_a_router_that_knows_no_other_host_marks_none() -> None:
    for name in (None, "partition"):
        router = create_cluster({"router": name, "hosts": [{"port": 1}, {"port": 2}]}).router
        before = [router.get_dbs("get", [key], {}) for key in KEYS]
        router.mark_connection_down(1)
        assert router.retryable is False
        assert router.down_connections == {}
        assert [router.get_dbs("get", [key], {}) for key in KEYS] == before
        router.mark_connection_up(1)


def test_a_cluster_with_other_hosts_has_a_router_that_knows_of_none_down() -> None:
    cluster = Cluster({0: {"port": 1}, 1: {"port": 2}}, router_cls=RoundRobinRouter)
    cluster.get_router().mark_connection_down(1)
    cluster.add_host(2, port=3)
    assert cluster.get_router().down_connections == {}


# ---- all down ------------------------------------------------------------------------------------


@both
def test_when_all_hosts_are_down_there_is_none_to_name(kind: type[RetryableRouter], clock: Clock) -> None:
    router = router_of(kind, retry_timeout=10)
    for host_id in range(3):
        router.mark_connection_down(host_id)
    calls: list[Callable[[], Any]] = [
        lambda: router.get_host_for_key("k"),
        lambda: router.get_hosts_for_keys(["k", "l"]),
        lambda: router.group_keys(["k", "l"]),
        lambda: router.get_host_for_command("GET", ["k"]),
        lambda: router.get_dbs("get", ["k"], {}),
    ]
    for call in calls:
        with pytest.raises(
            HostListExhausted, match=r"All 3 hosts refused connections; .* 10 s after"
        ) as caught:
            call()
        assert isinstance(caught.value, router.HostListExhausted)
        assert isinstance(caught.value, HostConnectionError)
        assert isinstance(caught.value, redis.ConnectionError)
        assert caught.value.sent is False
    clock.now += 10
    assert router.get_host_for_key("k") in range(3)


# ---- trials --------------------------------------------------------------------------------------


def test_one_thread_alone_tries_a_host_that_was_down(one_down: RetryableRouter, clock: Clock) -> None:
    assert one_down.check_down_connections() == {1}
    clock.now += 10
    assert one_down.check_down_connections() == set()
    assert elsewhere(one_down.check_down_connections) == {1}
    assert elsewhere(lambda: used(one_down)) == {0, 2}
    # It still has the trial.
    assert used(one_down) == {0, 1, 2}
    assert set(one_down.down_connections) == {1}
    one_down.mark_connection_up(1)
    assert elsewhere(lambda: used(one_down)) == {0, 1, 2}


def test_a_trial_that_fails_leaves_the_host_down_for_all(one_down: RetryableRouter, clock: Clock) -> None:
    clock.now += 10
    assert elsewhere(lambda: used(one_down)) == {0, 1, 2}
    one_down.mark_connection_down(1)
    assert used(one_down) == {0, 2}
    clock.now += 10
    assert used(one_down) == {0, 1, 2}


def test_a_thread_that_is_never_heard_of_again_loses_its_trial(
    one_down: RetryableRouter, clock: Clock
) -> None:
    clock.now += 10
    assert one_down.check_down_connections() == set()
    clock.now += 9
    assert elsewhere(one_down.check_down_connections) == {1}
    clock.now += 1
    assert elsewhere(one_down.check_down_connections) == set()
    assert one_down.check_down_connections() == {1}


def test_of_many_threads_one_gets_the_trial(one_down: RetryableRouter, clock: Clock) -> None:
    clock.now += 10
    end = threading.Barrier(16)

    def look(_: int) -> int:
        found = one_down.check_down_connections()
        # Thread ids are given anew to threads that come later.
        end.wait()
        return len(found)

    assert sorted(in_threads(16, look)) == [0] + [1] * 15


# ---- how often the clock is asked ----------------------------------------------------------------


@both
def test_while_no_host_is_down_nobody_asks_the_clock(kind: type[RetryableRouter], clock: Clock) -> None:
    router = router_of(kind)
    used(router)
    router.get_hosts_for_keys(KEYS)
    router.get_dbs("get", ["k"], {})
    assert clock.looks == 0


@both
@pytest.mark.parametrize(
    ("threshold", "looks"), [(1, 40), (3, 14), (20, 2), (39, 2), (40, 1), (1000, 1), (None, 1)]
)
def test_commands_that_are_routed_together_ask_the_clock_now_and_then(
    kind: type[RetryableRouter], clock: Clock, threshold: int | None, looks: int
) -> None:
    router = router_of(kind, attempt_reconnect_threshold=threshold)
    router.mark_connection_down(1)
    clock.looks = 0
    assert set(router.get_hosts_for_keys(KEYS)) == {0, 2}
    assert clock.looks == looks
    assert router.get_hosts_for_keys([]) == []
    clock.looks = 0
    assert used(router) == {0, 2}
    assert clock.looks == len(KEYS)


@both
def test_a_host_whose_time_comes_meanwhile_gets_the_rest_of_the_commands(
    kind: type[RetryableRouter], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = router_of(kind, retry_timeout=2, attempt_reconnect_threshold=10)
    router.mark_connection_down(1)

    def tick() -> float:
        clock.now += 1
        return clock.now

    monkeypatch.setattr(clock, "monotonic", tick)
    hosts = router.get_hosts_for_keys(KEYS)
    assert 1 not in hosts[:10]
    assert 1 in hosts[10:]
