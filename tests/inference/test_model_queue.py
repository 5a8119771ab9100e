"""One model at several addresses: calls go where least is in flight, and past one that fails."""

import asyncio
import itertools
import selectors
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ledger
import pytest
from clients import ask, calls_to, opened

from conftest import Folder
from soupstock import testing
from soupstock.errors import ModelError
from soupstock.inference.cache import Cache, CacheEntry
from soupstock.inference.call import Answer, Call, Failure, Reply
from soupstock.inference.client import Client
from soupstock.inference.retry import RequestError
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.transport import Address, Transport
from soupstock.testing import Server

NAMES = ("a", "b", "c")


def model_at(urls: Sequence[str], **settings: Any) -> Model:
    first, *further = urls
    return Model("test", "tester", base_url=first, replicas=tuple(further), **settings)


class Cluster(Transport):
    """Servers by name, each answering after its own time or failing, in virtual time."""

    def __init__(self, seconds: dict[str, float]) -> None:
        super().__init__()
        self.seconds = seconds
        self.broken: dict[str, Callable[[], RequestError]] = {}
        self.times: list[tuple[str, float]] = []
        self.in_flight: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def post(self, address: Address, call: Call) -> Answer:  # noqa: ARG002 - as the real one
        name = address.base_url.host or ""
        self.times.append((name, asyncio.get_running_loop().time()))
        if name in self.broken:
            trouble = self.broken[name]
            raise trouble()
        self.in_flight[name] += 1
        self.most[name] = max(self.most[name], self.in_flight[name])
        await asyncio.sleep(self.seconds[name])
        self.in_flight[name] -= 1
        return Answer("text", "stop", 10, 10)

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.times)


def unreachable() -> RequestError:
    failure = Failure("APIConnectionError", "nothing answers at http://a/v1 (refused)")
    return RequestError(failure, is_unreachable=True)


def rejected() -> RequestError:
    return RequestError(Failure("AuthenticationError", "401: no such key"), status=401)


def shattered() -> RequestError:
    return RequestError(Failure("InternalServerError", "500: broken"), status=500)


class Selector(ledger._Selector):
    """Lets time jump, but not while the cache, which lives in real time, has work to do."""

    pending = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.pending and timeout != 0:
            return selectors.DefaultSelector.select(self)
        return super().select(timeout)


class Loop(ledger.VirtualLoop):
    def __init__(self) -> None:
        self.selector = self._virtual = Selector()
        asyncio.SelectorEventLoop.__init__(self, self._virtual)


class Watched(Cache):
    """A cache that tells the loop when it is at work."""

    def put(self, entry: CacheEntry) -> "asyncio.Future[bytes]":
        loop = self._loop
        assert isinstance(loop, Loop)
        done = super().put(entry)
        loop.selector.pending += 1
        done.add_done_callback(lambda _: self._over(loop))
        return done

    @staticmethod
    def _over(loop: Loop) -> None:
        loop.selector.pending -= 1


def asked(
    folder: Path, cluster: Callable[[], Cluster], count: int, **settings: Any
) -> tuple[list[Reply], Cluster, ModelError | None]:
    """Ask a cluster for so many answers, in virtual time."""

    async def main() -> tuple[list[Reply], Cluster, ModelError | None]:
        servers = cluster()
        urls = [f"http://{name}/v1" for name in servers.seconds]
        async with (
            Watched(folder / "calls.sqlite") as cache,
            Servers(folder, lambda _: None) as none,
            Client(cache, none, transport=servers) as client,
        ):
            replies = await ask(client, calls_to(model_at(urls, **settings), count))
            assert client.broken is None or isinstance(client.broken, ModelError)
            return replies, servers, client.broken

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


def breaking(
    seconds: dict[str, float], **broken: Callable[[], RequestError]
) -> Callable[[], Cluster]:
    def cluster() -> Cluster:
        servers = Cluster(seconds)
        servers.broken.update(broken)
        return servers

    return cluster


def test_equal_servers_get_equal_shares(tmp_path: Path) -> None:
    cluster = breaking(dict.fromkeys(NAMES, 0.2))
    replies, servers, _ = asked(tmp_path, cluster, 300, concurrency=4)
    assert all(isinstance(reply, Answer) for reply in replies)
    assert set(servers.counts.values()) == {100}
    assert set(servers.most.values()) == {4}


def test_a_server_that_is_twice_as_fast_gets_twice_as_much(tmp_path: Path) -> None:
    cluster = breaking({"a": 0.1, "b": 0.2})
    _, servers, _ = asked(tmp_path, cluster, 600, concurrency=8)
    assert servers.counts["a"] == pytest.approx(400, abs=20)


def test_few_calls_one_after_the_other_are_shared_too(tmp_path: Path) -> None:
    _, servers, _ = asked(tmp_path, breaking(dict.fromkeys(NAMES, 0.2)), 3, concurrency=8)
    assert servers.counts == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("trouble", [unreachable, rejected, shattered])
def test_a_call_goes_on_elsewhere_at_once_and_an_address_that_fails_is_tried_ever_less_often(
    tmp_path: Path, trouble: Callable[[], RequestError]
) -> None:
    cluster = breaking({"a": 0.2, "b": 0.2}, a=trouble)
    replies, servers, broken = asked(tmp_path, cluster, 800, concurrency=4, attempts=4)
    assert broken is None
    assert all(isinstance(reply, Answer) for reply in replies)
    assert servers.counts["b"] == 800
    tries = [when for name, when in servers.times if name == "a"]
    assert len(tries) < 16
    later = [when for when in tries if when > 1]
    pauses = [after - before for before, after in itertools.pairwise(later)]
    assert pauses[0] < pauses[-1] <= 61


def test_an_address_that_comes_back_is_used_again(tmp_path: Path) -> None:
    def cluster() -> Cluster:
        servers = Cluster({"a": 0.2, "b": 0.2})
        servers.broken["a"] = unreachable
        asyncio.get_running_loop().call_at(20, servers.broken.clear)
        return servers

    # By 52 s it is tried again, whatever the chance in its pauses; the other takes 20 a second.
    _, servers, _ = asked(tmp_path, cluster, 3000, concurrency=4)
    assert servers.counts["a"] > 800


def test_when_all_fail_the_model_is_unreachable_and_the_run_ends(tmp_path: Path) -> None:
    cluster = breaking({"a": 0.2, "b": 0.2}, a=unreachable, b=unreachable)
    replies, servers, broken = asked(tmp_path, cluster, 100, concurrency=4)
    assert str(broken) == (
        "test: none of its 2 addresses is of use; "
        "the last: nothing answers at http://a/v1 (refused)"
    )
    assert all(isinstance(reply, Failure) for reply in replies)
    assert len(servers.times) <= 200


def test_when_all_reject_the_key_the_run_ends_at_once(tmp_path: Path) -> None:
    cluster = breaking({"a": 0.2, "b": 0.2}, a=rejected, b=rejected)
    _, servers, broken = asked(tmp_path, cluster, 100, concurrency=1)
    assert str(broken) == "test: none of its 2 addresses is of use; the last: 401: no such key"
    assert len(servers.times) <= 3


def test_when_all_die_in_the_middle_calls_fail_as_with_one_address(tmp_path: Path) -> None:
    def cluster() -> Cluster:
        servers = Cluster({"a": 0.2, "b": 0.2})
        dead = {"a": unreachable, "b": unreachable}
        asyncio.get_running_loop().call_at(5, servers.broken.update, dead)
        return servers

    replies, _, _ = asked(tmp_path, cluster, 500, concurrency=4, attempts=3)
    failures = [reply for reply in replies if isinstance(reply, Failure)]
    assert 0 < len(failures) < 500
    assert {failure.cause for failure in failures} == {"APIConnectionError"}


async def test_a_server_that_dies_leaves_its_calls_to_the_other(tmp_path: Path) -> None:
    with Server(delay=0.02) as one, Server(delay=0.02) as other:
        model = model_at([one.base_url, other.base_url], concurrency=4)
        calls = calls_to(model, 80)
        async with opened(tmp_path) as client:
            await ask(client, calls[:20])
            assert min(one.count, other.count) > 5
            before = one.count
            one.stop()
            replies = await ask(client, calls[20:])
            (account,) = client.account().models
        assert all(isinstance(reply, Answer) for reply in replies)
        assert [one.answered for one in account.addresses] == [before, 80 - before]
        assert account.usage.failed == 0


async def test_calls_keep_to_a_quota_over_all_addresses(tmp_path: Path) -> None:
    with Server() as one, Server() as other:
        urls = [one.base_url, other.base_url]
        async with opened(tmp_path) as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            await ask(client, calls_to(model_at(urls, requests_per_minute=600), 15))
            # Half a second's worth at once, and then ten a second.
            assert loop.time() - began >= 0.9
        assert min(one.count, other.count) > 0


def test_a_quota_lasts_in_virtual_time(tmp_path: Path) -> None:
    cluster = breaking({"a": 0.2, "b": 0.2})
    _, servers, _ = asked(tmp_path, cluster, 300, requests_per_minute=60)
    times = [when for _, when in servers.times]
    assert 290 <= times[-1] <= 300
    assert max(b - a for a, b in itertools.pairwise(times)) == pytest.approx(1, rel=0.02)


def test_refused_calls_wait_while_the_other_address_goes_on(tmp_path: Path) -> None:
    def cluster() -> Cluster:
        servers = Cluster({"a": 0.2, "b": 0.2})
        why = Failure("RateLimitError", "429: slower")
        servers.broken["a"] = lambda: RequestError(why, status=429, retry_after=30)
        return servers

    replies, servers, _ = asked(tmp_path, cluster, 400, concurrency=4)
    assert all(isinstance(reply, Answer) for reply in replies)
    assert servers.counts["a"] < 20


def test_a_run_shows_each_address_s_share(folder: Folder) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(Server()) for _ in range(3)]
        folder.point_at([server.base_url for server in servers], concurrency=2)
        servers[2].fail(lambda _: testing.error(500))
        said = folder.run().manifest
    (record,) = said.paid.servers
    assert [one.base_url for one in record.addresses] == [server.base_url for server in servers]
    assert sum(one.calls for one in record.addresses) == record.calls == 60
    assert record.addresses[2].calls == 0
    assert record.addresses[2].failed == servers[2].count > 0
    assert min(one.calls for one in record.addresses[:2]) > 15


def test_other_addresses_are_no_other_plan(folder: Folder) -> None:
    with Server() as server:
        folder.point_at(server.base_url)
        alone = folder.plan().fingerprint
        folder.point_at([server.base_url, "http://127.0.0.1:9/v1"])
        assert folder.plan().fingerprint == alone
        folder.run()
        folder.point_at(["http://127.0.0.1:9/v1"])
        assert folder.run().manifest.paid.calls == 0
