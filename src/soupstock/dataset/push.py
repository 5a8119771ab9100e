"""Push a dataset to the Hugging Face Hub: private unless told otherwise, in one atomic commit.

What was uploaded before a failure is not uploaded again: large files are found by their hashes. A
repository that soupstock did not make is left alone. Tokens come from the environment or a login,
and are in no message.
"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soupstock.dataset import changelog
from soupstock.dataset.bundle import content_of, files_of
from soupstock.dataset.checks import faults
from soupstock.dataset.diff import compare
from soupstock.dataset.hub import fetch, hub_errors
from soupstock.dataset.release import LOCK, Release
from soupstock.dataset.versions import Version, read_dataset
from soupstock.errors import MistakeError, SoupstockError, shown
from soupstock.project.project import Project

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo

_ATTEMPTS = 4
_WAIT = 1.0
_SERVER_ERROR = 500
_CONFLICTS = {409, 412}
_REFUSALS = {401, 403}
_NOT_OURS = frozenset({".gitattributes"})
_VERSION = re.compile(r"v(\d+)")
# What uploads large files is no Python, and tells a status in words alone.
_TOLD_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})\b")
_LONGEST_REASON = 300
_GO_ON = "what was uploaded is kept, push again to go on"


@dataclass(frozen=True)
class Choices:
    """How to push."""

    repository: str | None = None
    """Where to, if not where the pipeline says."""
    public: bool = False
    force: bool = False
    """Whether to overwrite what soupstock did not make."""
    tag: str | None = None
    """What the version is called; `v1`, `v2` and so on where it is not said."""
    allowed: Sequence[str] = ()
    """Kinds of personal data that may be in it."""


@dataclass(frozen=True)
class Prepared:
    """What a push would do."""

    release: Release
    repository: str
    private: bool
    version: str
    files: Mapping[str, bytes | Path]
    """What will be there, by path."""
    deleted: Sequence[str] = ()
    parent: str | None = None
    """The commit that it builds upon; None where there is no repository yet."""
    is_there: bool = False
    """Whether the very same dataset is there already."""
    tagged: bool = False
    opens: bool = False
    """Whether what is private on the Hub becomes public."""
    unseen: str | None = None
    """Why the Hub could not be looked at, where only a look was wanted."""

    @property
    def bytes(self) -> int:
        """How much all files are."""
        return sum(
            len(file) if isinstance(file, bytes) else file.stat().st_size
            for file in self.files.values()
        )


@dataclass(frozen=True)
class Pushed:
    """What was pushed."""

    url: str
    version: str
    commit: str
    is_new: bool
    """Whether anything had to be pushed."""


class OutOfReachError(SoupstockError):
    """The Hub does not answer, or answers that it cannot."""

    def __init__(self, repository: str, reason: str) -> None:
        super().__init__(f"{repository} was not pushed: {reason}; {_GO_ON}")
        self.reason = reason


class NoTokenError(MistakeError):
    """Nobody has said by what token to speak to the Hub."""


def connect(endpoint: str | None = None, token: str | None = None) -> "HfApi":
    """Return the Hub's client; raises MistakeError where it is not installed or has no token."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise MistakeError("to push takes huggingface_hub: pip install 'soupstock[hub]'") from error
    found = token or get_token()
    if not found:
        raise NoTokenError("the Hub needs a token: set HF_TOKEN, or log in by `hf auth login`")
    return HfApi(endpoint=endpoint, token=found)


def require_fit(release: Release, project: Project, choices: Choices) -> None:
    """Check a dataset; raises MistakeError where it must not be pushed."""
    if found := faults(release, project, choices.allowed):
        repository = choices.repository or release.repository
        raise MistakeError(f"{repository} is not pushed: {'; '.join(found)}")


def prepare(release: Release, choices: Choices, api: "HfApi") -> Prepared:
    """Look at what is on the Hub, and say what a push would do.

    Raises MistakeError where what is there forbids it.
    """
    repository = choices.repository or release.repository
    with _hub(repository, api):
        info = _info(api, repository)
        if info is None:
            version = choices.tag or "v1"
            files = files_of(release, version, [])
            return Prepared(release, repository, not choices.public, version, files)
        return _onto(release, choices, api, info, repository)


def foresee(
    release: Release, choices: Choices, endpoint: str | None = None, token: str | None = None
) -> Prepared:
    """Say what a push would do; where the Hub cannot be looked at, what can be told without it.

    Raises MistakeError where what is on the Hub forbids it.
    """
    try:
        return prepare(release, choices, connect(endpoint, token))
    except NoTokenError:
        unseen = "there is no token"
    except OutOfReachError as error:
        unseen = error.reason
    repository, version = choices.repository or release.repository, choices.tag or "v1"
    files = files_of(release, version, [])
    return Prepared(release, repository, not choices.public, version, files, unseen=unseen)


def _onto(
    release: Release, choices: Choices, api: "HfApi", info: "DatasetInfo", repository: str
) -> Prepared:
    """Prepare to push to a repository that is there."""
    private = bool(info.private)
    if not private and not choices.public:
        raise MistakeError(f"{repository} is public on the Hub; say --public to push to it")
    there = {sibling.rfilename for sibling in info.siblings or ()}
    lock = _remote_lock(api, repository, info) if LOCK in there else None
    foreign = sorted(there - _NOT_OURS - set((lock or {}).get("files", {})) - {LOCK})
    if foreign and not choices.force:
        names = ", ".join(map(shown, foreign[:3])) + (", …" if len(foreign) > 3 else "")  # noqa: PLR2004
        raise MistakeError(
            f"{repository} has files that soupstock did not make ({names}); say --force to replace"
            " them"
        )
    tags = {tag.name: tag.target_commit for tag in _refs(api, repository)}
    entries = list((lock or {}).get("changes", []))
    is_there = lock is not None and lock.get("content") == content_of(release)
    version = choices.tag or _next(tags, entries, is_there=is_there)
    if not is_there and version in tags:
        raise MistakeError(f"{repository} has a version {shown(version)} already")
    if not is_there:
        before = _version_before(api, repository, info, lock)
        entries.append(changelog.entry(version, _difference(before, release)))
    files = files_of(release, version, entries)
    return Prepared(
        release,
        repository,
        private=not choices.public,
        version=version,
        files=files,
        deleted=sorted(there - _NOT_OURS - files.keys()),
        parent=info.sha,
        is_there=is_there,
        tagged=tags.get(version) is not None,
        opens=private and choices.public,
    )


def push(
    prepared: Prepared, api: "HfApi", notify: Callable[[str], None] = lambda _: None
) -> Pushed:
    """Push what was prepared; raises SoupstockError. To call it again goes on where it ended."""
    repository = prepared.repository
    with _hub(repository, api):
        if prepared.parent is None:
            api.create_repo(repository, repo_type="dataset", private=prepared.private)
        commit = prepared.parent or ""
        if not prepared.is_there:
            commit = _committed(prepared, api, notify)
        if prepared.opens:
            api.update_repo_settings(repository, repo_type="dataset", private=False)
        if not prepared.tagged:
            _retried(
                lambda: api.create_tag(
                    repository,
                    tag=prepared.version,
                    revision=commit,
                    repo_type="dataset",
                    exist_ok=True,
                ),
                notify,
            )
    url = f"{api.endpoint}/datasets/{repository}"
    return Pushed(url, prepared.version, commit, not prepared.is_there)


def _committed(prepared: Prepared, api: "HfApi", notify: Callable[[str], None]) -> str:
    """Make the one commit; one whose answer was lost is not made again."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repository = prepared.repository
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(name, file) for name, file in prepared.files.items()),
        *(CommitOperationDelete(name) for name in prepared.deleted),
    ]
    parent = prepared.parent or _sha(_info(api, repository))
    content = content_of(prepared.release)

    def commit() -> str:
        info = _info(api, repository)
        lost = info and info.sha != parent and LOCK in {s.rfilename for s in info.siblings or ()}
        if info and lost and _remote_lock(api, repository, info).get("content") == content:
            return str(info.sha)
        made = api.create_commit(
            repository,
            operations,
            commit_message=f"{prepared.version}: {prepared.release.dataset.rows:,} rows",
            repo_type="dataset",
            parent_commit=parent,
        )
        return str(made.oid)

    made: str = _retried(commit, notify)
    return made


def _retried(act: Callable[[], Any], notify: Callable[[str], None]) -> Any:
    """Try again where the server stumbled."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return act()
        except hub_errors() as error:
            status = _status(error)
            if attempt == _ATTEMPTS or (status is not None and status < _SERVER_ERROR):
                raise
            notify(f"the Hub stumbled ({status or type(error).__name__}); trying again")
            time.sleep(_WAIT * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error, or what led to it, is about."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if response is not None:
            return int(response.status_code)
        if told := _TOLD_STATUS.search(str(seen)):
            return int(told[1])
        seen = seen.__cause__
    return None


@contextmanager
def _hub(repository: str, api: "HfApi") -> Iterator[None]:
    """Turn what the Hub answers into one line, without the token."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        yield
    except hub_errors() as error:
        if isinstance(error, SoupstockError):
            raise
        status = _status(error)
        told = f"{error} {error.__cause__ or ''}" if isinstance(error, RuntimeError) else error
        reason = " ".join(str(told).split())[:_LONGEST_REASON]
        reason = shown(reason.replace(str(api.token), "[token]"))
        if status in _REFUSALS:
            raise MistakeError(
                f"the Hub does not let this token write to {repository} ({status}): {reason}"
            ) from error
        if status in _CONFLICTS:
            raise SoupstockError(
                f"somebody changed {repository} meanwhile ({status}); push again"
            ) from error
        if status is None or status >= _SERVER_ERROR:
            raise OutOfReachError(repository, reason) from error
        raise SoupstockError(f"{repository} was not pushed: {reason}; {_GO_ON}") from error


def _info(api: "HfApi", repository: str) -> "DatasetInfo | None":
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.dataset_info(repository)
    except RepositoryNotFoundError:
        # The Hub says so too to whoever may not know; then making it is what fails.
        return None


def _sha(info: "DatasetInfo | None") -> str | None:
    return info.sha if info else None


def _refs(api: "HfApi", repository: str) -> Sequence[Any]:
    return api.list_repo_refs(repository, repo_type="dataset").tags


def _remote_lock(api: "HfApi", repository: str, info: "DatasetInfo") -> dict[str, Any]:
    """Read what the last push said; what cannot be read is none of ours."""
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        path = api.hf_hub_download(
            repository, LOCK, repo_type="dataset", revision=info.sha, cache_dir=place
        )
        try:
            lock = json.loads(Path(path).read_bytes())
        except ValueError:
            return {}
    return lock if isinstance(lock, dict) else {}


def _version_before(
    api: "HfApi", repository: str, info: "DatasetInfo", lock: Mapping[str, Any] | None
) -> Version | None:
    """Fetch the rows that are there, to compare with them."""
    if lock is None:
        return None
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        there = {sibling.rfilename for sibling in info.siblings or ()}
        names = [name for name in lock.get("files", {}) if name in there]
        fetch(api, repository, info.sha, names, Path(place))
        try:
            return read_dataset(Path(place), label=str(lock.get("version", "before")))
        except MistakeError:
            return None


def _difference(before: Version | None, release: Release) -> Any:
    if before is None:
        return None
    try:
        return compare(before, read_dataset(release.place, label=release.name))
    except MistakeError:
        # Nothing in common: it is another dataset.
        return None


def _next(tags: Mapping[str, str], entries: Sequence[Mapping[str, Any]], *, is_there: bool) -> str:
    """Name the next version; the same again where it is there already."""
    if is_there and entries:
        return str(entries[-1].get("version"))
    numbers = [int(found[1]) for name in tags if (found := _VERSION.fullmatch(name))]
    return f"v{max(numbers, default=0) + 1}"
