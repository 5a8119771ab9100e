"""Review in Argilla: a dataset for each version of a pipeline's questions.

A dataset's metadata on the server names its pipeline and the hash of its form, so that nothing is
lost with a local folder. A record's external id is the hash of its text.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from soupstock.errors import MistakeError, hint, quoted
from soupstock.review.answers import KeyAndSource, ReviewAnswer
from soupstock.review.argilla_api import WORKSPACE, Api, ArgillaSettings, RefusedError
from soupstock.review.argilla_forms import (
    LONGEST_GUIDELINES,
    field_body,
    form_of,
    metadata_bodies,
    question_body,
    record_body,
    replies_of,
)
from soupstock.review.form import Form, FormRecord, read_reply
from soupstock.review.tool import Notify, Pulled, Pushed, ReviewPlace
from soupstock.spec.pipeline import slug

BATCH = 50
"""How many records are sent at once: larger batches gain no speed, and lose more to an error."""

PAGE = 1000
"""How many records are read at once: the most that the server returns."""

MARK = "soupstock"
"""The key of our entry in a dataset's metadata."""


class _Dataset(NamedTuple):
    """A dataset of a pipeline."""

    id: str
    name: str
    form: str
    """The hash of its form."""
    is_ready: bool
    active: str
    """When the last answer was given in it."""


@dataclass
class Argilla:
    """A workspace of an Argilla server."""

    settings: ArgillaSettings
    pipeline: str
    notify: Notify
    _place: ReviewPlace | None = None

    async def pull(self, form: Form, texts: Mapping[str, str], since: Mapping[str, str]) -> Pulled:
        """Fetch the answers of all datasets that have new answers since the last fetch."""
        answers: list[ReviewAnswer] = []
        places: list[KeyAndSource] = []
        cursors: dict[str, str] = {}
        async with Api(self.settings) as api:
            found = await self._datasets(api, await self._workspace(api))
            if since.keys() - {_source(one) for one in found}:
                self.notify(
                    "a dataset was deleted in Argilla; the answers that were fetched are kept"
                )
            people = await _people(api)
            for dataset in found:
                source = _source(dataset)
                cursors[source] = dataset.active
                if since.get(source) == dataset.active:
                    continue
                own = form if dataset.form == form.digest else await _own_form(api, dataset)
                async for record in _records(api, dataset.id, include="responses"):
                    key = str(record.get("external_id"))
                    places.append((key, source))
                    answers += self._read(own, record, people, texts.get(key), source)
        return Pulled(answers, places, cursors)

    def _read(
        self,
        form: Form,
        record: Mapping[str, Any],
        people: Mapping[str, str],
        shown: str | None,
        source: str,
    ) -> Iterator[ReviewAnswer]:
        for reply in replies_of(record, people):
            try:
                yield read_reply(form, reply, shown, source)
            except ValueError as error:
                self.notify(f"an answer by {reply.annotator} cannot be read: {error}")

    async def push(self, form: Form, records: Sequence[FormRecord]) -> Pushed:
        """Send the records that the dataset does not have, and those of an interrupted push."""
        async with Api(self.settings) as api:
            workspace = await self._workspace(api)
            dataset = await self._dataset(api, workspace, form)
            self._place = self._placed(dataset)
            existing = {str(one.get("external_id")) async for one in _records(api, dataset.id)}
            if await _indexed(api, dataset.id) < len(existing):
                # The server stores a record before it indexes it.
                self.notify("an earlier push was interrupted; its records are sent again")
                existing = set()
            known = {one["name"]: one["id"] for one in await _questions(api, dataset)}
            fresh = [record for record in records if record.key not in existing]
            refused: dict[str, str] = {}
            for start in range(0, len(fresh), BATCH):
                bodies = {
                    record.row: record_body(record, known)
                    for record in fresh[start : start + BATCH]
                }
                await _put(api, dataset.id, bodies, refused)
        return Pushed(len(fresh) - len(refused), len(records) - len(fresh), refused)

    def place(self) -> ReviewPlace:
        """Return the address of the dataset's page."""
        return self._place or ReviewPlace(self.settings.url, self.settings.details)

    def _placed(self, dataset: _Dataset) -> ReviewPlace:
        page = f"{self.settings.url}/dataset/{dataset.id}/annotation-mode"
        return ReviewPlace(page, {"dataset": dataset.name, **self.settings.details})

    async def _workspace(self, api: Api) -> str:
        """Find the workspace; create soupstock's own if it does not exist."""
        existing = {one["name"]: one["id"] for one in (await api.get("me/workspaces"))["items"]}
        wanted = self.settings.workspace or WORKSPACE
        if wanted in existing:
            return str(existing[wanted])
        if self.settings.workspace is not None:
            problem = f"no workspace is called {quoted(wanted)}{hint(wanted, existing)}"
            raise MistakeError(problem)
        return str((await api.post("workspaces", {"name": wanted}))["id"])

    async def _datasets(self, api: Api, workspace: str) -> list[_Dataset]:
        """Return the pipeline's datasets, the oldest first."""
        items = (await api.get("me/datasets", workspace_id=workspace))["items"]
        found = [_dataset(one) for one in items if self._is_ours(one)]
        return [one for one in found if one.is_ready]

    def _is_ours(self, said: Mapping[str, Any]) -> bool:
        mark = (said.get("metadata") or {}).get(MARK) or {}
        return bool(mark.get("pipeline") == self.pipeline)

    async def _dataset(self, api: Api, workspace: str, form: Form) -> _Dataset:
        """Find the dataset of this form, or create it."""
        items = (await api.get("me/datasets", workspace_id=workspace))["items"]
        ours = [_dataset(one) for one in items if self._is_ours(one)]
        for dataset in ours:
            if not dataset.is_ready:
                # A dataset that was never finished has no answers.
                await api.delete(f"datasets/{dataset.id}")
        ready = [one for one in ours if one.is_ready]
        if same := [one for one in ready if one.form == form.digest]:
            return same[-1]
        gone = {one.id for one in ours if not one.is_ready}
        taken = {one["name"] for one in items if one["id"] not in gone}
        made = await self._made(api, workspace, form, _free(slug(self.pipeline), taken))
        if ready:
            self.notify(
                f"the questions have changed since {ready[-1].name}: {made.name} is a new dataset; "
                "answers to the old one still count"
            )
        return made

    async def _made(self, api: Api, workspace: str, form: Form, name: str) -> _Dataset:
        """Create a dataset for a form, step by step; publishing makes it ready."""
        said = await api.post(
            "datasets",
            {
                "name": name,
                "guidelines": form.guidelines[:LONGEST_GUIDELINES] or None,
                "distribution": {"strategy": "overlap", "min_submitted": form.annotators},
                "metadata": {MARK: {"pipeline": self.pipeline, "form": form.digest}},
                "workspace_id": workspace,
            },
        )
        into = f"datasets/{said['id']}"
        for field in form.fields:
            await api.post(f"{into}/fields", field_body(field))
        for question in form.questions:
            await api.post(f"{into}/questions", question_body(question))
        for body in metadata_bodies():
            await api.post(f"{into}/metadata-properties", body)
        return _dataset(await api.put(f"{into}/publish"))


def _source(dataset: _Dataset) -> str:
    return f"argilla:{dataset.id}"


def _dataset(said: Mapping[str, Any]) -> _Dataset:
    mark = (said.get("metadata") or {}).get(MARK) or {}
    return _Dataset(
        id=said["id"],
        name=said["name"],
        form=str(mark.get("form")),
        is_ready=said["status"] == "ready",
        active=str(said.get("last_activity_at")),
    )


def _free(name: str, taken: set[str]) -> str:
    names = (name if number == 1 else f"{name}-v{number}" for number in count(1))
    return next(one for one in names if one not in taken)


async def _people(api: Api) -> dict[str, str]:
    """Return the users' names by id; only an owner may list all users."""
    me = await api.get("me")
    if me.get("role") != "owner":
        return {me["id"]: me["username"]}
    return {one["id"]: one["username"] for one in (await api.get("users"))["items"]}


async def _questions(api: Api, dataset: _Dataset) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get(f"datasets/{dataset.id}/questions"))["items"]
    return found


async def _own_form(api: Api, dataset: _Dataset) -> Form:
    return form_of(await _questions(api, dataset))


async def _records(api: Api, dataset: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield all records. Without a filter they come from the database, so none is missing."""
    for offset in count(0, PAGE):
        page = await api.get(f"datasets/{dataset}/records", offset=offset, limit=PAGE, **query)
        for record in page["items"]:
            yield record
        if len(page["items"]) < PAGE:
            return


async def _indexed(api: Api, dataset: str) -> int:
    """Return how many records the search index has."""
    found = await api.post(f"datasets/{dataset}/records/search", {}, limit=1)
    return int(found["total"])


async def _put(api: Api, dataset: str, bodies: Mapping[str, Any], refused: dict[str, str]) -> None:
    """Send a batch; split one that is refused until the bad record is alone.

    PUT is idempotent: if a response was lost, sending the record again changes nothing.
    """
    try:
        await api.put(f"datasets/{dataset}/records/bulk", {"items": list(bodies.values())})
    except RefusedError as error:
        if error.status != 422:  # noqa: PLR2004 - unprocessable content
            raise
        if len(bodies) == 1:
            refused[next(iter(bodies))] = error.message
            return
        rows = list(bodies)
        for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            await _put(api, dataset, {row: bodies[row] for row in part}, refused)
