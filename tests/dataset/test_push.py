"""A dataset is pushed whole, once, to whom it was meant for, and only when it is fit."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hub_imitation import READER, TOKEN, Hub
from huggingface_hub import HfApi, constants
from releases import command, released, seeds, there

from conftest import Folder
from soupstock.artifacts import manifest
from soupstock.artifacts import run_folder as folders
from soupstock.artifacts.files import sha256
from soupstock.dataset import hub as hubs
from soupstock.dataset import push
from soupstock.dataset.diff import compare
from soupstock.dataset.hub import read_hub_version
from soupstock.dataset.push import Choices, Prepared, Pushed
from soupstock.dataset.release import LOCK, Release
from soupstock.dataset.versions import read_version
from soupstock.errors import MistakeError, SoupstockError
from soupstock.project.project import Project
from soupstock.testing import Server

# The Hub's client itself uses its HTTP library in a way that this one advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PRIVATE = Choices()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Its own protocol for large files is no HTTP that anybody else speaks.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(hubs, "_WAIT", 0.0)
    with Hub() as hub:
        yield hub


@pytest.fixture
def made(folder: Folder) -> Folder:
    """Make a project with a run that is fit to be published."""
    seeds(folder)
    folder.run("pushed")
    return folder


def api(hub: Hub, token: str = TOKEN) -> HfApi:
    return hubs.connect(hub.url, token)


def prepared(made: Folder, hub: Hub, choices: Choices = PRIVATE, token: str = TOKEN) -> Prepared:
    release = released(made)
    push.require_publishable(release, Project(made.root), choices)
    return push.prepare(release, choices, api(hub, token))


def pushed(made: Folder, hub: Hub, choices: Choices = PRIVATE, token: str = TOKEN) -> Pushed:
    return push.push(prepared(made, hub, choices, token), api(hub, token))


def test_one_commit_has_all_files_and_a_tag(made: Folder, hub: Hub) -> None:
    done = pushed(made, hub)
    repository = there(hub)
    assert repository.private
    assert len(repository.commits) == 2
    assert repository.tags == {"v1": done.commit} == {"v1": repository.sha}
    release = released(made)
    files = dict(repository.files)
    card, lock = files.pop("README.md").decode(), json.loads(files.pop(LOCK))
    del files[".gitattributes"]
    own = {name: path.read_bytes() for name, path in release.paths().items()}
    image = "![Rows after each step](images/rows.svg)\n"
    heading = "## What was kept, and what was dropped\n\n"
    written = own.pop("README.md").decode().replace(heading, f"{heading}{image}\n")
    made_from = {name: files.pop(name) for name in list(files) if name.startswith("made_from/")}
    for name in made_from:
        file = name.removeprefix("made_from/").replace("standard/", "standard:")
        assert f" [`{file}`]({name}) |" in card
        written = written.replace(f" `{file}` |", f" [`{file}`]({name}) |")
    assert card.startswith(written)
    assert release.manifest is not None
    (schema,), (length,) = release.manifest.schemas, release.manifest.filters
    assert made_from == {
        "made_from/standard/schemas/chat.py": schema.text.encode(),
        "made_from/standard/filters/length.py": length.text.encode(),
    }
    assert files.pop("images/rows.svg").startswith(b"<svg ")
    assert card.endswith("## Changes\n\n### `v1`\n\nThe first version.\n")
    assert files == own
    assert lock["fingerprint"] == release.lock["fingerprint"]
    assert set(lock["files"]) == {*own, *made_from, "README.md", "images/rows.svg"}
    assert str(made.root) not in json.dumps(lock)


def test_what_is_pushed_is_what_datasets_loads(made: Folder, hub: Hub, tmp_path: Path) -> None:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    pushed(made, hub)
    for name, content in there(hub).files.items():
        path = tmp_path / "clone" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    data = load_dataset(str(tmp_path / "clone"), cache_dir=str(tmp_path / "cache"))
    assert sum(len(rows) for rows in data.values()) == 40
    assert set(data) == {"train", "test"}


def test_pushing_again_pushes_nothing(made: Folder, hub: Hub) -> None:
    first = pushed(made, hub)
    again = pushed(made, hub)
    assert (again.is_new, again.version, again.commit) == (False, "v1", first.commit)
    assert len(there(hub).commits) == 2


def test_another_version_says_what_changed(made: Folder, hub: Hub) -> None:
    pushed(made, hub)
    seeds(made, lambda n: f"Answer number {n}." + " Quite so." * (n < 5))
    made.run("pushed")
    done = pushed(made, hub)
    assert done.version == "v2"
    repository = there(hub)
    assert set(repository.tags) == {"v1", "v2"}
    card = repository.files["README.md"].decode()
    changes = card.partition("## Changes\n")[2]
    assert changes.index("### `v2`") < changes.index("### `v1`")
    assert "- 5 rows added, 5 removed, 0 changed; 40 rows now" in changes


def test_a_version_on_the_hub_is_compared_with_a_run(made: Folder, hub: Hub) -> None:
    pushed(made, hub)
    seeds(made, lambda n: f"Answer number {n}." + " Quite so." * (n < 5))
    made.run("pushed")
    pushed(made, hub)
    project = Project(made.root)
    first = read_hub_version("hub:me/pushed@v1", api(hub))
    last = read_hub_version("hub:me/pushed", api(hub))
    own = read_version(project, str(released(made).place))
    assert len(compare(first, own).added) == len(compare(first, last).removed) == 5
    assert compare(last, own).is_empty
    for name, said in (
        ("hub:me/none", "cannot be fetched: 404"),
        ("hub:me/pushed@v9", "cannot be fetched: 404"),
        ("hub:", "is not hub:ORG/NAME"),
    ):
        with pytest.raises(MistakeError, match=said):
            read_hub_version(name, api(hub))


def test_files_that_are_not_there_any_more_are_removed_in_the_same_commit(
    made: Folder, hub: Hub
) -> None:
    pushed(made, hub)
    made.replace("pipelines/pushed.yaml", "    splits: {test: 0.3}\n", "")
    made.run("pushed")
    pushed(made, hub)
    assert len(there(hub).commits) == 3
    assert [name for name in there(hub).files if name.startswith("data/")] == [
        "data/train-00000-of-00001.parquet"
    ]


def test_what_soupstock_did_not_make_is_replaced_only_by_force(made: Folder, hub: Hub) -> None:
    repository = hub.make("me/pushed", {"data.csv": b"1", "README.md": b"mine"})
    with pytest.raises(MistakeError, match=r"did not make \(README.md, data.csv\); pass --force"):
        pushed(made, hub)
    assert len(repository.commits) == 1
    pushed(made, hub, Choices(force=True))
    assert "data.csv" not in repository.files
    assert len(repository.commits) == 2


def test_a_public_repository_takes_nothing_that_was_not_said_to_be_public(
    made: Folder, hub: Hub
) -> None:
    repository = hub.make("me/pushed", {}, private=False)
    with pytest.raises(MistakeError, match="is public on the Hub; pass --public"):
        pushed(made, hub)
    pushed(made, hub, Choices(public=True))
    assert not repository.private
    assert repository.tags


def test_public_makes_it_public(made: Folder, hub: Hub) -> None:
    pushed(made, hub)
    assert there(hub).private
    ready = prepared(made, hub, Choices(public=True))
    assert ready.becomes_public
    push.push(ready, api(hub))
    assert not there(hub).private


@pytest.mark.parametrize("late", [False, True])
def test_a_commit_whose_answer_is_lost_is_made_once(made: Folder, hub: Hub, *, late: bool) -> None:
    hub.fail("POST", "/commit/", 503, late=late)
    done = pushed(made, hub)
    assert len(there(hub).commits) == 2
    assert there(hub).tags == {"v1": done.commit}


def test_a_push_that_broke_off_goes_on_without_uploading_again(made: Folder, hub: Hub) -> None:
    hub.fail("POST", "/commit/", 500, times=4)
    with pytest.raises(SoupstockError, match="push again to continue"):
        pushed(made, hub)
    uploads = hub.count("PUT", "/lfs/")
    assert uploads == 2
    assert len(there(hub).commits) == 1
    pushed(made, hub)
    assert hub.count("PUT", "/lfs/") == uploads
    assert len(there(hub).commits) == 2


def test_a_tag_that_failed_is_set_by_the_next_push(made: Folder, hub: Hub) -> None:
    hub.fail("POST", "/tag/", 500, times=4)
    with pytest.raises(SoupstockError):
        pushed(made, hub)
    assert not there(hub).tags
    pushed(made, hub)
    assert there(hub).tags == {"v1": there(hub).sha}


def test_somebody_who_commits_meanwhile_loses_nothing(made: Folder, hub: Hub) -> None:
    repository = hub.make("me/pushed", {})

    def quicker() -> None:
        hub.before_commit = None
        repository.commit({"theirs.csv": b""}, "quicker")

    hub.before_commit = quicker
    with pytest.raises(SoupstockError, match=r"somebody changed me/pushed meanwhile \(412\)"):
        pushed(made, hub)
    assert list(repository.files) == ["theirs.csv"]


def test_a_repository_that_somebody_makes_meanwhile_is_left_alone(made: Folder, hub: Hub) -> None:
    ready = prepared(made, hub)
    repository = hub.make("me/pushed", {"theirs.csv": b""})
    with pytest.raises(SoupstockError, match=r"somebody changed me/pushed meanwhile \(409\)"):
        push.push(ready, api(hub))
    assert len(repository.commits) == 1


@pytest.mark.parametrize(("token", "status"), [(READER, 403), ("hf_unknownUnknown", 401)])
def test_a_token_that_may_not_write_is_a_mistake_that_does_not_quote_it(
    made: Folder, hub: Hub, token: str, status: int
) -> None:
    with pytest.raises(MistakeError, match=rf"does not let this token .*\({status}\)") as error:
        pushed(made, hub, token=token)
    assert token not in str(error.value)


# What follows is about datasets that are not fit.


def assert_unfit(made: Folder, hub: Hub, said: str, choices: Choices = PRIVATE) -> None:
    with pytest.raises(MistakeError, match=said) as error:
        pushed(made, hub, choices)
    assert error.value.exit_code == 2
    assert not hub.repositories


def test_a_file_that_was_changed_is_named(made: Folder, hub: Hub) -> None:
    release = released(made)
    file = min((release.place / "data").iterdir())
    rows = pl.read_parquet(file, glob=False)
    rows.reverse().write_parquet(file)
    assert_unfit(made, hub, "dataset/data/test-00000-of-00001.parquet is not the file that the run")
    file.unlink()
    assert_unfit(made, hub, "dataset/data/test-00000-of-00001.parquet is missing")
    (release.place / "more.txt").write_text("x")
    assert_unfit(made, hub, r"dataset/more.txt is not a file of the run")


def rewritten(release: Release, name: str, rows: pl.DataFrame) -> None:
    """Change a file of a dataset, and the manifest's hash with it."""
    path = release.place / name
    rows.write_parquet(path)
    said = manifest.read(release.folder)
    files = {**said.files, f"{folders.DATASET}/{name}": sha256(path)}
    manifest.write(release.folder, said.model_copy(update={"files": files}))


TEST, TRAIN = (f"data/{split}-00000-of-00001.parquet" for split in ("test", "train"))


def test_a_row_on_both_sides_is_a_leak(made: Folder, hub: Hub) -> None:
    release = released(made)
    train = pl.read_parquet(release.place / TRAIN)
    test = pl.read_parquet(release.place / TEST)
    rewritten(release, TEST, pl.concat([train.head(1), test.tail(-1)]))
    assert_unfit(made, hub, "default leaks: 1 groups of near-duplicates")


SOURCED = """\
source: {file: seeds.parquet}
steps:
  - {generate: answer, model: writer, prompt: again, temperature: 1.0}
  - dataset: me/pushed
    configs: {sft: {schema: Said}, raw: {}}
    splits: {test: 0.3}
models: {writer: test}
"""


@pytest.mark.parametrize("config", ["sft", "raw"])
def test_rows_of_one_source_row_on_both_sides_are_a_leak(
    folder: Folder, hub: Hub, server: Server, config: str
) -> None:
    drawn = random.Random(1)  # noqa: S311 - words, no secret
    server.answer = lambda _: " ".join(f"w{drawn.randrange(9999)}" for _ in range(40))

    twice = [{"instruction": f"Question {n % 20} {n % 20 * 7919}?"} for n in range(40)]
    pl.DataFrame(twice).write_parquet(folder.root / "seeds.parquet")
    folder.point_at(server.base_url)
    folder.write("prompts/again.md", "Answer: {{ instruction }}")
    schema = "class Said(BaseModel):\n    answer: str\n"
    folder.write("schemas/own.py", f"from pydantic import BaseModel\n\n\n{schema}")
    folder.write("pipelines/pushed.yaml", SOURCED)
    folder.run("pushed")
    release = released(folder)
    push.require_publishable(release, Project(folder.root), PRIVATE)
    names = [f"{config}/{split}-00000-of-00001.parquet" for split in ("test", "train")]
    test, train = (pl.read_parquet(release.place / name) for name in names)
    # One of a source row's answers changes sides with one of another's: no two of them are alike.
    rewritten(release, names[0], pl.concat([train.head(1), test.tail(-1)]))
    rewritten(release, names[1], pl.concat([test.head(1), train.tail(-1)]))
    assert_unfit(folder, hub, r"it leaks: rows from 2 source rows are in more than one split")
    # The schema is the run's: what became of it since makes no difference.
    folder.write("schemas/own.py", "")
    assert_unfit(folder, hub, r"it leaks: rows from 2 source rows")


def test_other_columns_rows_and_shapes_than_were_told_are_found(made: Folder, hub: Hub) -> None:
    release = released(made)
    train = pl.read_parquet(release.place / TRAIN)
    rewritten(release, TRAIN, train.tail(-2).rename({"messages": "turns"}))
    expected = rf"{TRAIN} has other columns .*{TRAIN} has \d+ rows, not \d+"
    assert_unfit(made, hub, expected)
    rewritten(release, TRAIN, train.with_columns(pl.col("messages").list.head(1)))
    assert_unfit(made, hub, f"a row of {TRAIN} breaks the schema Conversation")


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("Write to jane.roe@acme-tools.org.", "emails", "e-mail addresses"),
        ("The key is AKIA" + "Q3ZK7MVNB2LWXT5D.", "secrets", "secrets"),
    ],
)
def test_what_must_not_get_out_is_found_and_not_quoted(
    folder: Folder, hub: Hub, text: str, kind: str, said: str
) -> None:
    seeds(folder, lambda n: text if n == 3 else f"Answer number {n}.")
    folder.run("pushed")
    with pytest.raises(MistakeError, match=rf"has {said} \(1\): .*--allow {kind}") as error:
        pushed(folder, hub)
    assert text.rsplit(maxsplit=1)[-1] not in str(error.value)
    assert not hub.repositories
    pushed(folder, hub, Choices(allowed=(kind,)))


def test_a_key_in_a_file_that_the_run_was_made_from_is_found(folder: Folder, hub: Hub) -> None:
    key = "hf_" + "aBcDeFgHiJ" * 3
    schema = "from pydantic import BaseModel\n\n\nclass Own(BaseModel):\n    response: str\n"
    folder.write("schemas/own.py", f"{schema}\n\n# {key}\n")
    seeds(folder)
    folder.replace("pipelines/pushed.yaml", "schema: Conversation", "schema: Own")
    folder.run("pushed")
    with pytest.raises(MistakeError, match=r"schemas/own\.py, which .* has secrets") as error:
        pushed(folder, hub)
    assert key not in str(error.value)
    assert not hub.repositories


def test_an_unfit_judge_that_was_to_stop_the_run_stops_the_push(made: Folder, hub: Hub) -> None:
    place = released(made).folder
    said = json.loads((place / manifest.MANIFEST).read_text())
    said["pipeline"]["steps"].append({"judge": "quality", "on_unfit": "stop", "rubric": "chat"})
    fitness = {"verdict": "not fit", "sentence": "It is not.", "rows": 20}
    said["judges"] = [
        {"column": "quality", "models": ["judge"], "rubric": "chat", "fitness": fitness}
    ]
    (place / manifest.MANIFEST).write_text(json.dumps(said))
    problem = "the judge of quality failed its sanity check, and the pipeline says on_unfit: stop"
    assert_unfit(made, hub, problem)


def test_nothing_kept_and_nothing_run_are_said_so(made: Folder, hub: Hub) -> None:
    made.replace("pipelines/pushed.yaml", "min: 1", "min: 1000")
    made.run("pushed")
    assert_unfit(made, hub, "pushed has nothing to publish: no row was kept")
    shutil.rmtree(made.root / "runs")
    assert_unfit(made, hub, "no run and no folder is called 'pushed'")


def test_the_command_pushes_by_the_environments_token_and_never_prints_it(
    made: Folder, hub: Hub
) -> None:
    dry = command(made, hub, "--dry-run", HF_TOKEN=TOKEN)
    assert dry.returncode == 0, dry.stderr
    assert "me/pushed: 40 rows, 7 files, 0.0 MB, private, version v1" in dry.stdout
    assert "nothing was pushed: --dry-run" in dry.stdout
    assert not hub.repositories
    done = command(made, hub, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.url}/datasets/me/pushed (v1, commit " in done.stdout
    assert there(hub).tags
    for one in (dry, done):
        assert TOKEN not in one.stdout + one.stderr


def test_the_command_takes_the_token_of_a_login_and_needs_one(made: Folder, hub: Hub) -> None:
    none = command(made, hub)
    assert none.returncode == 2
    assert none.stderr == (
        "soupstock: the Hub needs a token: set HF_TOKEN, or log in by `hf auth login`\n"
    )
    made.write("home/token", TOKEN)
    assert command(made, hub, "--to", "you/other").returncode == 0
    assert list(hub.repositories) == ["you/other"]


def test_the_command_ends_with_two_and_the_reason_where_a_dataset_is_unfit(
    made: Folder, hub: Hub
) -> None:
    (released(made).place / "more.txt").write_text("x")
    done = command(made, hub, HF_TOKEN=TOKEN)
    assert done.returncode == 2
    assert done.stderr == (
        "soupstock: me/pushed is not pushed: dataset/more.txt is not a file of the run\n"
    )
    assert not hub.requests


def test_a_hub_that_is_not_there_is_one_line(made: Folder, hub: Hub) -> None:
    done = command(made, hub, HF_TOKEN=TOKEN, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("soupstock: me/pushed was not pushed: ")
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "the Hub was not asked: there is no token. Unknown: whether me/pushed exists"),
        ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}, "refused"),
        ({"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"}, "offline"),
    ],
)
def test_a_dry_run_needs_no_token_and_no_hub_and_says_what_it_did_not_see(
    made: Folder, hub: Hub, environment: dict[str, str], said: str
) -> None:
    done = command(made, hub, "--dry-run", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, *files, unseen, last = done.stdout.splitlines()
    assert first == "me/pushed: 40 rows, 7 files, 0.0 MB, private, the first version"
    assert "  README.md" in files
    assert unseen.startswith("the Hub was not asked: ")
    assert said in unseen
    assert last == "nothing was pushed: --dry-run"
    assert not hub.requests
    (released(made).place / "more.txt").write_text("x")
    assert command(made, hub, "--dry-run", **environment).returncode == 2


def test_a_dry_run_still_refuses_what_the_hub_forbids(made: Folder, hub: Hub) -> None:
    hub.make("me/pushed", {"theirs.csv": b""})
    done = command(made, hub, "--dry-run", HF_TOKEN=TOKEN)
    assert done.returncode == 2
    assert "did not make (theirs.csv)" in done.stderr


def test_models_whose_licence_nobody_told_are_named_before_the_push(
    folder: Folder, hub: Hub, server: Server
) -> None:
    folder.point_at(server.base_url)
    run = folder.run()
    done = command(folder, hub, "--dry-run", name="mine")
    assert "check before publishing: what tester allows with its answers is unknown" in done.stdout
    folder.point_at(server.base_url, license="apache-2.0")
    folder.run()
    again = command(folder, hub, "--dry-run", name="mine")
    assert (again.returncode, "check before" in again.stdout) == (0, False)
    assert run.manifest.models[0].license is None
