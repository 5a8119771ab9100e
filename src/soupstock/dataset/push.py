"""Push a dataset to the Hugging Face Hub: private unless told otherwise, in one atomic commit.

Nothing is uploaded twice: after a failure, large files are found by their hashes. A repository that
soupstock did not make is left alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soupstock.dataset import changelog
from soupstock.dataset.bundle import content_of, files_of
from soupstock.dataset.checks import faults
from soupstock.dataset.diff import Difference, compare
from soupstock.dataset.hub import (
    NoTokenError,
    OutOfReachError,
    Repository,
    connect,
    find_repository,
    retried,
    translated,
)
from soupstock.dataset.release import LOCK, Release
from soupstock.dataset.versions import Version, read_dataset
from soupstock.errors import MistakeError, shown
from soupstock.project.project import Project

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

_HUBS_OWN = frozenset({".gitattributes"})
_VERSION = re.compile(r"v(\d+)")
_LISTED = 3

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Choices:
    """How to push."""

    repository: str | None = None
    """The repository's id. Default: that of the pipeline."""
    public: bool = False
    force: bool = False
    """Whether to overwrite what soupstock did not make."""
    tag: str | None = None
    """The name of the version. Default: `v1`, `v2` and so on."""
    allowed: Sequence[str] = ()
    """Kinds of personal data that it may contain."""


@dataclass(frozen=True)
class Prepared:
    """What a push would do."""

    release: Release
    repository: str
    private: bool
    version: str
    files: Mapping[str, bytes | Path]
    """Every file that will be on the Hub, by path."""
    deleted: Sequence[str] = ()
    parent: str | None = None
    """The commit that it builds upon; None if there is no repository yet."""
    is_there: bool = False
    """Whether the very same dataset is on the Hub already."""
    is_tagged: bool = False
    becomes_public: bool = False
    """Whether what is private on the Hub becomes public."""
    unreached: str | None = None
    """Why the Hub could not be asked, in a dry run."""

    @property
    def bytes(self) -> int:
        """The size of all files together."""
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


def require_publishable(release: Release, project: Project, choices: Choices) -> None:
    """Check a dataset; raises MistakeError if it must not be pushed."""
    if found := faults(release, project, choices.allowed):
        repository = choices.repository or release.repository
        raise MistakeError(f"{repository} is not pushed: {'; '.join(found)}")


def prepare(release: Release, choices: Choices, api: "HfApi") -> Prepared:
    """Look at what is on the Hub, and say what a push would do.

    Raises MistakeError if what is there forbids it.
    """
    repository = choices.repository or release.repository
    with translated(repository, api):
        there = find_repository(api, repository)
        return _onto(release, choices, there) if there else _first(release, choices)


def dry_run(
    release: Release, choices: Choices, endpoint: str | None = None, token: str | None = None
) -> Prepared:
    """Say what a push would do; if the Hub cannot be asked, what is known without it.

    Raises MistakeError if what is on the Hub forbids it.
    """
    try:
        return prepare(release, choices, connect(endpoint, token))
    except NoTokenError:
        return _first(release, choices, unreached="there is no token")
    except OutOfReachError as error:
        return _first(release, choices, unreached=error.reason)


def _first(release: Release, choices: Choices, unreached: str | None = None) -> Prepared:
    """Prepare to push to a repository that does not exist yet."""
    repository, version = choices.repository or release.repository, choices.tag or "v1"
    files = files_of(release, version, [])
    return Prepared(release, repository, not choices.public, version, files, unreached=unreached)


def _onto(release: Release, choices: Choices, there: Repository) -> Prepared:
    """Prepare to push to a repository that exists."""
    if not there.private and not choices.public:
        raise MistakeError(f"{there.name} is public on the Hub; pass --public to push to it")
    lock = there.lock()
    if not choices.force:
        _require_ours(there, lock or {})
    tags, entries = there.tags(), list((lock or {}).get("changes", []))
    is_there = lock is not None and lock.get("content") == content_of(release)
    version = choices.tag or _next(tags, entries, is_there=is_there)
    if not is_there:
        if version in tags:
            raise MistakeError(f"{there.name} has a version {shown(version)} already")
        difference = _difference(there.version(lock), release)
        entries.append(changelog.entry(version, difference))
    files = files_of(release, version, entries)
    return Prepared(
        release,
        there.name,
        private=not choices.public,
        version=version,
        files=files,
        deleted=sorted(there.files - _HUBS_OWN - files.keys()),
        parent=there.commit,
        is_there=is_there,
        is_tagged=tags.get(version) is not None,
        becomes_public=there.private and choices.public,
    )


def _require_ours(there: Repository, lock: Mapping[str, Any]) -> None:
    """Raise MistakeError if a repository has files that soupstock did not make."""
    foreign = sorted(there.files - _HUBS_OWN - {*lock.get("files", {}), LOCK})
    if foreign:
        more = ", …" if len(foreign) > _LISTED else ""
        names = ", ".join(map(shown, foreign[:_LISTED])) + more
        raise MistakeError(
            f"{there.name} has files that soupstock did not make ({names}); pass --force to replace"
            " them"
        )


def _next(tags: Mapping[str, str], entries: Sequence[Mapping[str, Any]], *, is_there: bool) -> str:
    """Name the next version; the last one if the same dataset is there already."""
    if is_there and entries:
        return str(entries[-1].get("version"))
    numbers = [int(found[1]) for name in tags if (found := _VERSION.fullmatch(name))]
    return f"v{max(numbers, default=0) + 1}"


def _difference(before: Version | None, release: Release) -> Difference | None:
    if before is None:
        return None
    try:
        return compare(before, read_dataset(release.place, label=release.name))
    except MistakeError:
        # The two have nothing in common: it is another dataset.
        return None


def push(prepared: Prepared, api: "HfApi", notify: Notify = lambda _: None) -> Pushed:
    """Push what was prepared; raises SoupstockError. Push again to continue after a failure."""
    repository = prepared.repository
    with translated(repository, api):
        if prepared.parent is None:
            api.create_repo(repository, repo_type="dataset", private=prepared.private)
        commit = prepared.parent or ""
        if not prepared.is_there:
            commit = _committed(prepared, api, notify)
        if prepared.becomes_public:
            api.update_repo_settings(repository, repo_type="dataset", private=False)
        if not prepared.is_tagged:
            _tag(prepared, commit, api, notify)
    url = f"{api.endpoint}/datasets/{repository}"
    return Pushed(url, prepared.version, commit, not prepared.is_there)


def _tag(prepared: Prepared, commit: str, api: "HfApi", notify: Notify) -> None:
    def tag() -> None:
        api.create_tag(
            prepared.repository,
            tag=prepared.version,
            revision=commit,
            repo_type="dataset",
            exist_ok=True,
        )

    retried(tag, notify)


def _committed(prepared: Prepared, api: "HfApi", notify: Notify) -> str:
    """Make the one commit; one whose answer was lost is not made again."""
    operations = _operations(prepared)
    content = content_of(prepared.release)
    before = prepared.parent or _head(api, prepared.repository)

    def commit() -> str:
        there = find_repository(api, prepared.repository)
        if there and there.commit != before and (there.lock() or {}).get("content") == content:
            return str(there.commit)
        made = api.create_commit(
            prepared.repository,
            operations,
            commit_message=f"{prepared.version}: {prepared.release.dataset.rows:,} rows",
            repo_type="dataset",
            parent_commit=before,
        )
        return str(made.oid)

    return retried(commit, notify)


def _head(api: "HfApi", repository: str) -> str | None:
    there = find_repository(api, repository)
    return there.commit if there else None


def _operations(prepared: Prepared) -> "list[CommitOperationAdd | CommitOperationDelete]":
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    return [
        *(CommitOperationAdd(name, file) for name, file in prepared.files.items()),
        *(CommitOperationDelete(name) for name in prepared.deleted),
    ]
