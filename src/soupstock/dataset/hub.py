"""Fetch a version of a dataset from the Hub, to compare with: `hub:my-org/chat@v1`."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soupstock.dataset.versions import Version, read_dataset
from soupstock.errors import MistakeError, quoted, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hub:"
"""What a name begins with that is one on the Hub."""

_NAME = re.compile(r"hub:(?P<repository>[^@\s]+)(?:@(?P<revision>\S+))?")
_READ = (".parquet", "README.md")
_LONGEST_REASON = 300


def hub_errors() -> tuple[type[Exception], ...]:
    """Return what the Hub's client raises, and its HTTP library where nothing answers."""
    from huggingface_hub.errors import HfHubHTTPError

    # Which library that is differs from version to version.
    base = [one for one in HfHubHTTPError.__mro__ if one.__name__ == "HTTPError"]
    return (*base, HfHubHTTPError, OSError, RuntimeError, ValueError)


def fetch(
    api: "HfApi", repository: str, revision: str | None, names: Sequence[str], place: Path
) -> None:
    """Fetch of some files those that are read: the rows, and the card that says which are which."""
    for name in names:
        if name.endswith(_READ):
            api.hf_hub_download(
                repository, name, repo_type="dataset", revision=revision, local_dir=place
            )


def read_hub_version(name: str, api: "HfApi | None" = None) -> Version:
    """Read a version from the Hub; raises MistakeError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise MistakeError(f"{quoted(name)} is not hub:ORG/NAME or hub:ORG/NAME@VERSION")
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = api or HfApi()
    repository, revision = found["repository"], found["revision"]
    try:
        info = api.dataset_info(repository, revision=revision)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
            fetch(api, repository, revision or info.sha, names, Path(place))
            return read_dataset(Path(place), label=name.removeprefix(PREFIX))
    except hub_errors() as error:
        reason = shown(" ".join(str(error).split())[:_LONGEST_REASON])
        raise MistakeError(f"{quoted(name)} cannot be fetched: {reason}") from error
