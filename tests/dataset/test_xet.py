"""Large files go to the Hub by Xet, and where its store fails nothing is left half done."""

from collections.abc import Iterator

import pytest
from hub_imitation import READER, TOKEN, Hub
from releases import command, released, seeds, there

from conftest import Folder
from soupstock.dataset.release import LOCK

XET = {"HF_HUB_DISABLE_XET": "0", "HF_TOKEN": TOKEN, "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def made(folder: Folder) -> Folder:
    """Make a project with a run that is fit to be published."""
    seeds(folder)
    folder.run("pushed")
    return folder


def assert_whole(made: Folder, hub: Hub) -> None:
    """See that one commit has all of the dataset's files, and that it is tagged."""
    own = {name: path.read_bytes() for name, path in released(made).paths().items()}
    del own["README.md"]
    files = there(hub).files
    assert len(own) == 2
    assert {name: files[name] for name in own} == own
    assert {LOCK, "README.md"} <= files.keys()
    assert len(there(hub).commits) == 2
    assert there(hub).tags == {"v1": there(hub).sha}


def test_large_files_go_by_xet_and_come_out_whole(made: Folder, hub: Hub) -> None:
    done = command(made, hub, **XET)
    assert (done.returncode, done.stderr) == (0, "")
    assert_whole(made, hub)
    assert len(hub.xet.files) == 2
    assert hub.count("PUT", "/lfs/") == 0
    assert TOKEN not in done.stdout
    again = command(made, hub, **XET)
    assert "already on the Hub: " in again.stdout
    assert hub.count("POST", "/v1/xorbs/") == 1


@pytest.mark.slow
@pytest.mark.parametrize("part", ["/xet-write-token/", "/v1/xorbs/", "/v1/shards"])
def test_a_store_that_fails_leaves_nothing_half_done_and_the_next_push_goes_on(
    made: Folder, hub: Hub, part: str
) -> None:
    hub.fail("GET" if "token" in part else "POST", part, 500, times=100)
    broken = command(made, hub, **XET)
    assert broken.returncode == 1
    *stumbles, last = broken.stderr.splitlines()
    assert stumbles == ["the Hub failed (500); trying again"] * 3
    assert last.startswith("soupstock: me/pushed was not pushed: ")
    assert last.endswith("push again to continue")
    assert TOKEN not in broken.stderr
    assert len(there(hub).commits) == 1
    assert not there(hub).tags
    hub.failing.clear()
    assert command(made, hub, **XET).returncode == 0
    assert_whole(made, hub)


@pytest.mark.slow
def test_after_a_commit_that_failed_the_same_files_are_sent_by_xet_no_more(
    made: Folder, hub: Hub
) -> None:
    hub.fail("POST", "/commit/", 500, times=4)
    assert command(made, hub, **XET).returncode == 1
    assert len(there(hub).commits) == 1
    sent = hub.count("POST", "/v1/xorbs/")
    assert command(made, hub, **XET).returncode == 0
    assert_whole(made, hub)
    assert hub.count("POST", "/v1/xorbs/") == sent == 1


def test_a_store_that_stumbles_once_is_tried_again(made: Folder, hub: Hub) -> None:
    hub.fail("POST", "/v1/xorbs/", 503, times=2)
    assert command(made, hub, **XET).returncode == 0
    assert_whole(made, hub)


def test_a_token_that_may_not_write_by_xet_is_a_mistake_and_is_not_tried_again(
    made: Folder, hub: Hub
) -> None:
    hub.make("me/pushed", {})
    done = command(made, hub, **XET | {"HF_TOKEN": READER})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("soupstock: the Hub does not let this token write to me/pushed (403): ")
    assert READER not in line
    assert hub.count("GET", "/xet-write-token/") == 1
