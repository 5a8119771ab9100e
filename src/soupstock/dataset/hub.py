"""Read from the Hugging Face Hub: the files of a repository, and versions to compare with.

Tokens come from the environment or a login, and never appear in a message.
"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from soupstock.dataset.release import LOCK
from soupstock.dataset.versions import Version, read_dataset
from soupstock.errors import MistakeError, SoupstockError, quoted, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hub:"
"""What the name of a dataset on the Hub begins with: `hub:my-org/chat@v1`."""

_NAME = re.compile(r"hub:(?P<repository>[^@\s]+)(?:@(?P<revision>\S+))?")
_READ = (".parquet", "README.md")
_ATTEMPTS = 4
_WAIT = 1.0
_SERVER_ERROR = 500
_CONFLICTS = {409, 412}
_REFUSALS = {401, 403}
# What uploads large files is not Python, and gives a status only in words.
_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})\b")
_LONGEST_REASON = 300
_CONTINUE = "what was uploaded is kept, push again to continue"

Result = TypeVar("Result")


class OutOfReachError(SoupstockError):
    """The Hub does not answer, or answers that it cannot."""

    def __init__(self, repository: str, reason: str) -> None:
        super().__init__(f"{repository} was not pushed: {reason}; {_CONTINUE}")
        self.reason = reason


class NoTokenError(MistakeError):
    """There is no token for the Hub."""


def connect(endpoint: str | None = None, token: str | None = None) -> "HfApi":
    """Return the Hub's client; raises MistakeError if it is not installed or has no token."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise MistakeError("pushing needs huggingface_hub: pip install 'soupstock[hub]'") from error
    found = token or get_token()
    if not found:
        raise NoTokenError("the Hub needs a token: set HF_TOKEN, or log in by `hf auth login`")
    return HfApi(endpoint=endpoint, token=found)


@dataclass(frozen=True)
class Repository:
    """A dataset's repository on the Hub, as it is at one commit."""

    api: "HfApi"
    name: str
    commit: str | None
    private: bool
    files: frozenset[str]

    def lock(self) -> dict[str, Any] | None:
        """Read the lock that the last push wrote.

        None if soupstock pushed nothing; empty if it cannot be read, and so is not ours.
        """
        if LOCK not in self.files:
            return None
        with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
            path = self.api.hf_hub_download(
                self.name, LOCK, repo_type="dataset", revision=self.commit, cache_dir=place
            )
            try:
                lock = json.loads(Path(path).read_bytes())
            except ValueError:
                return {}
        return lock if isinstance(lock, dict) else {}

    def tags(self) -> dict[str, str]:
        """Return the commit of each tag."""
        refs = self.api.list_repo_refs(self.name, repo_type="dataset")
        return {tag.name: tag.target_commit for tag in refs.tags}

    def version(self, lock: Mapping[str, Any] | None) -> Version | None:
        """Fetch the rows that the last push left, by its lock; None if there are none to read."""
        if lock is None:
            return None
        names = [name for name in lock.get("files", {}) if name in self.files]
        with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
            _fetch(self.api, self.name, self.commit, names, Path(place))
            try:
                return read_dataset(Path(place), label=str(lock.get("version", "before")))
            except MistakeError:
                return None


def find_repository(api: "HfApi", name: str) -> Repository | None:
    """Look at a repository; None if there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(name)
    except RepositoryNotFoundError:
        # The Hub also says so to a token that may not see it; creating it then fails.
        return None
    files = frozenset(sibling.rfilename for sibling in info.siblings or ())
    return Repository(api, name, info.sha, bool(info.private), files)


def read_hub_version(name: str, api: "HfApi | None" = None) -> Version:
    """Read a version from the Hub, to compare with: `hub:my-org/chat@v1`; raises MistakeError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise MistakeError(f"{quoted(name)} is not hub:ORG/NAME or hub:ORG/NAME@VERSION")
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return _read(api or HfApi(), found["repository"], found["revision"])
    except _errors() as error:
        reason = shown(" ".join(str(error).split())[:_LONGEST_REASON])
        raise MistakeError(f"{quoted(name)} cannot be fetched: {reason}") from error


def _read(api: "HfApi", repository: str, revision: str | None) -> Version:
    info = api.dataset_info(repository, revision=revision)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    label = f"{repository}@{revision}" if revision else repository
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        _fetch(api, repository, revision or info.sha, names, Path(place))
        return read_dataset(Path(place), label=label)


def _fetch(
    api: "HfApi", repository: str, revision: str | None, names: Sequence[str], place: Path
) -> None:
    """Fetch what is read of some files: the rows, and the card that says which are which."""
    for name in names:
        if name.endswith(_READ):
            api.hf_hub_download(
                repository, name, repo_type="dataset", revision=revision, local_dir=place
            )


def retried(act: Callable[[], Result], notify: Callable[[str], None]) -> Result:
    """Try again, with growing pauses, if the Hub fails and not the request."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return act()
        except _errors() as error:
            status = _status_of(error)
            if status is not None and status < _SERVER_ERROR:
                raise
            notify(f"the Hub failed ({status or type(error).__name__}); trying again")
            time.sleep(_WAIT * 2 ** (attempt - 1))
    return act()


@contextmanager
def translated(repository: str, api: "HfApi") -> Iterator[None]:
    """Turn the Hub's errors into one line each, without the token."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        yield
    except _errors() as error:
        if isinstance(error, SoupstockError):
            raise
        reason = _reason(error).replace(str(api.token), "[token]")
        raise _error(repository, _status_of(error), shown(reason)) from error


def _reason(error: Exception) -> str:
    # Where large files are uploaded, the cause says more than the error.
    text = f"{error} {error.__cause__ or ''}" if isinstance(error, RuntimeError) else str(error)
    return " ".join(text.split())[:_LONGEST_REASON]


def _error(repository: str, status: int | None, reason: str) -> SoupstockError:
    """Say what a status means for a push."""
    if status in _REFUSALS:
        return MistakeError(
            f"the Hub does not let this token write to {repository} ({status}): {reason}"
        )
    if status in _CONFLICTS:
        return SoupstockError(f"somebody changed {repository} meanwhile ({status}); push again")
    if status is None or status >= _SERVER_ERROR:
        return OutOfReachError(repository, reason)
    return SoupstockError(f"{repository} was not pushed: {reason}; {_CONTINUE}")


def _errors() -> tuple[type[Exception], ...]:
    """Return what the Hub's client raises, and its HTTP library if nothing answers."""
    from huggingface_hub.errors import HfHubHTTPError

    # Which library that is differs from version to version.
    base = [one for one in HfHubHTTPError.__mro__ if one.__name__ == "HTTPError"]
    return (*base, HfHubHTTPError, OSError, RuntimeError, ValueError)


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error, or of what caused it."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if response is not None:
            return int(response.status_code)
        if found := _STATUS.search(str(cause)):
            return int(found[1])
        cause = cause.__cause__
    return None
