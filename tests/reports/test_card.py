"""The dataset card is valid for the Hub, true to the manifest, and safe from what it quotes."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import DatasetCard
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML

from conftest import Folder
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import Manifest, ModelRecord
from soupstock.artifacts.terms import terms_of
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.reports.card import card, front_matter
from soupstock.reports.card.card import render_card
from soupstock.rows.row import Row
from soupstock.runs.run import Run
from soupstock.spec.fields import MAX_TOKENS
from soupstock.spec.pipeline import Pipeline
from soupstock.testing import Server
from soupstock.text.markdown import code, fenced, one_line, prose, table

HOSTILE = (
    "end\n---\n\nlicense: mit\n# Heading\n- item\n1. one\n> quote\n```\ncode\n```\n~~~\n    four\n"
    "| a | b |\n|---|---|\n[link](javascript:alert(1)) ![img](https://evil.example/x.png) "
    "<script>alert(1)</script> <img src=x onerror=alert(1)> <!-- </details> --> &lt; \\ \\| `` ` "
    "<https://evil.example> *bold* __bold__ ~~gone~~ $$x$$ {{ 7 * 7 }} {% raw %} \u202e \x1b[31m"
)

texts = st.text(st.characters(codec="utf-8"), max_size=80)


def markdown() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")


def tokens(text: str) -> Iterator[Token]:
    for token in markdown().parse(text):
        yield token
        yield from token.children or ()


def read(text: str) -> str:
    """Return what a person reads of some Markdown, as one line."""
    kinds = {"text", "code_inline", "fence"}
    found = [token.content for token in tokens(text) if token.type in kinds]
    return " ".join("".join(found).split())


def parted(text: str) -> tuple[str, str]:
    """Part a card into its YAML and its Markdown."""
    _, head, body = text.split("---\n", 2)
    return head, body


def metadata(text: str) -> dict[str, Any]:
    """Read a card's YAML as the Hub's own library does."""
    found = vars(DatasetCard(text).data)
    return {key: value for key, value in found.items() if value is not None}


def of(run: Run) -> str:
    return (run.folder / "dataset" / "README.md").read_text(encoding="utf-8")


def changed(manifest: Manifest, **changes: Any) -> tuple[Manifest, DatasetRecord]:
    """Return a manifest with other values, and its dataset's record."""
    data = json.loads(manifest.model_dump_json())
    data |= changes
    again = Manifest.model_validate(data)
    assert again.dataset is not None
    return again, again.dataset


def rendered(manifest: Manifest, samples: tuple[Row, ...] = (), **changes: Any) -> str:
    return render_card(*changed(manifest, **changes), samples)


@pytest.fixture
def manifest(folder: Folder, server: Server) -> Manifest:
    """Run the project's pipeline, and return what the run says of itself."""
    del server
    folder.replace(
        "pipelines/mine.yaml",
        "me/mine",
        "me/mine\n    license: Apache-2.0\n    language: [en, de-AT]",
    )
    return folder.run().manifest


def test_the_hub_reads_the_cards_metadata_as_it_was_meant(manifest: Manifest) -> None:
    data = metadata(rendered(manifest))
    assert manifest.dataset is not None
    assert {key: data[key] for key in data if key != "dataset_info"} == {
        "pretty_name": "mine",
        "license": "apache-2.0",
        "language": ["en"],
        "language_bcp47": ["de-AT"],
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "language_creators": ["machine-generated"],
        "annotations_creators": ["machine-generated"],
        "tags": ["synthetic", "soupstock", "tester"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*"}],
            }
        ],
    }
    info = data["dataset_info"]
    assert [feature["name"] for feature in info["features"]] == list(manifest.dataset.features)
    assert info["splits"] == [
        {"name": "train", "num_bytes": manifest.dataset.bytes, "num_examples": manifest.kept}
    ]
    assert info["download_size"] == manifest.dataset.shards[0].bytes


@pytest.mark.parametrize(
    ("license_", "expected"),
    [
        ("mit", {"license": "mit"}),
        (" CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("My Own: Licence\n---", {"license": "other", "license_name": "my-own-licence"}),
        (None, {"license": "unknown"}),
    ],
)
def test_a_licence_is_named_as_the_hub_names_it(
    manifest: Manifest, license_: str | None, expected: dict[str, str]
) -> None:
    assert manifest.dataset is not None
    dataset = manifest.dataset.model_dump() | {"license": license_}
    data = metadata(rendered(manifest, dataset=dataset))
    assert {key: data[key] for key in data if key.startswith("license")} == expected


@pytest.mark.parametrize(
    ("rows", "name"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**10, "n>1B")]
)
def test_the_size_category_follows_from_the_rows(rows: int, name: str) -> None:
    assert front_matter.size_category(rows) == name


TERMS = {
    "title": "Some Terms",
    "says": "It asks for a name.",
    "source": "https://example.org/terms",
    "version": "1 May 2024",
    "seen": "2026-11-25",
}


def test_every_number_in_the_card_is_one_of_the_manifests(manifest: Manifest) -> None:
    sources: set[float] = set()
    planted = iter(range(1_000_003, 2_000_000, 7))

    def plant(value: Any) -> Any:
        match value:
            case dict():
                return {key: plant(inner) for key, inner in value.items()}
            case list():
                return [plant(inner) for inner in value]
            case int() | float() if not isinstance(value, bool):
                number = next(planted) + (0.25 if isinstance(value, float) else 0)
                sources.add(number)
                return number
            case _:
                return value

    pipeline = manifest.pipeline
    terms = TERMS | {"says": "Ask t881.", "version": "v882", "source": "https://x883.org/"}
    data = json.loads(manifest.model_dump_json())
    data = plant(data | {"reason": "12 of 345 rows", "outcome": "partial"}) | {
        "pipeline": pipeline,
        "versions": {"python": "91.92.93"},
        "models": [
            model | {"revision": "r777", "license": "l778", "terms": terms}
            for model in data["models"]
        ],
    }
    for step in data["steps"]:
        step["cost"] = plant(0.5) if step["model"] else None
        step["failures"] = [{"cause": "Budget", "rows": plant(1), "example": "e"}]
    # What the pipeline says of rows, filters, and how models are asked where it does not say.
    sources |= {20, 0.5, MAX_TOKENS, 0}
    again = Manifest.model_validate(data)
    assert again.dataset is not None
    sample = {"text": "a 4711 b", "n": 4712}
    body = parted(render_card(again, again.dataset, [sample]))[1].replace("SHA-256", "")
    texts = again.model_dump_json() + json.dumps(sample)
    found = re.findall(r"[\w./-]*\d[\w.,/-]*", body)
    assert len(found) > 60
    for word in (one.rstrip(".,") for one in found):
        if re.fullmatch(r"\d[\d,]*(\.\d+)?", word):
            assert float(word.replace(",", "")) in sources or word in {"4711", "4712", "12", "345"}
        else:
            assert word in texts


def test_what_a_table_says_is_what_the_manifest_says(manifest: Manifest) -> None:
    lines = parted(rendered(manifest))[1].splitlines()
    for step in manifest.steps:
        line = next(
            one
            for one in lines
            if one.startswith(f"| {step.index}. `{step.label}` | {step.rows_in} |")
        )
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        dropped = [f"{rows} `{reason}`" for reason, rows in step.dropped.items()]
        assert cells[2:] == [str(step.rows_kept), "<br>".join(dropped)]
    score = manifest.scores[0].kept
    assert score is not None
    assert any(
        line.startswith(
            f"| `quality` | rows of the dataset | {score.rows} | {round(score.lowest, 2):g} |"
        )
        for line in lines
    )


def test_hostile_text_changes_nothing_but_the_text(manifest: Manifest) -> None:
    """Headings, links, HTML and fences stay as they are, whatever the names and texts are."""

    def shape(text: str) -> Counter[str]:
        kinds = [token.type for token in tokens(text)]
        inline = {"text", "softbreak", "code_inline", "inline"}
        return Counter(kind for kind in kinds if kind not in inline)

    def poisoned(value: Any, *, keys: bool = False) -> Any:
        match value:
            case str():
                return f"{value} {HOSTILE}"
            case dict():
                return {
                    poisoned(key) if keys else key: poisoned(inner, keys=keys)
                    for key, inner in value.items()
                }
            case list():
                return [poisoned(inner, keys=keys) for inner in value]
            case _:
                return value

    data = json.loads(manifest.model_dump_json())
    data["models"][0] |= {"license": "odd", "terms": TERMS}
    sample = {"topic": "t", "list": ["a"], "struct": {"x": "y"}}
    data |= {"reason": "why", "outcome": "partial"}
    data["pipeline"]["description"] = "what it is"
    plain = rendered(manifest, (sample,), **data)
    poisoned_terms = TERMS | {key: poisoned(TERMS[key]) for key in ("title", "says", "version")}
    changes = {
        "name": poisoned("mine"),
        "reason": poisoned("why"),
        "models": [
            model
            | {key: poisoned(model[key]) for key in ("reference", "model", "license")}
            | {"terms": model["terms"] and poisoned_terms}
            for model in data["models"]
        ],
        "prompts": [
            part | {"name": poisoned("p"), "file": poisoned("f")} for part in data["prompts"]
        ],
        "versions": poisoned(data["versions"]),
        "steps": [
            step
            | {"label": poisoned(step["label"]), "dropped": poisoned(step["dropped"], keys=True)}
            for step in data["steps"]
        ],
        "pipeline": data["pipeline"] | {"description": poisoned(data["pipeline"]["description"])},
        "dataset": data["dataset"]
        | {
            "features": {poisoned(k): v for k, v in data["dataset"]["features"].items()},
            "configs": [
                config | {"features": {poisoned(k): v for k, v in config["features"].items()}}
                for config in data["dataset"]["configs"]
            ],
            "license": poisoned("l"),
        },
    }
    changes["models"][1]["license"] = data["models"][1]["license"]
    hostile = rendered(manifest, (poisoned(sample, keys=True),), **(data | changes))
    assert shape(parted(hostile)[1]) == shape(parted(plain)[1])
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile
    head = metadata(hostile)
    assert head["pretty_name"] == one_line(poisoned("mine"), 80)
    assert head["license"] == "other"
    names = [feature["name"] for feature in head["dataset_info"]["features"]]
    assert names == list(changes["dataset"]["features"])


@given(texts, texts)
@example(HOSTILE, HOSTILE)
@example("a|b", "\\|")
@example("`", "``a`")
@example("1. a", "- a")
@example("1) a", "+ a")
@example("&amp;", "=")
def test_a_quoted_text_reads_as_it_is_written(one: str, other: str) -> None:
    assert read(prose(one)) == one_line(one)
    assert read(code(one)).replace(" ", "") == (one_line(one) or "(empty)").replace(" ", "")
    cells = [
        token.content
        for token in markdown().parse(table(("a", "b"), [(code(one), prose(other))]))
        if token.type == "inline"
    ]
    assert [read(cell) for cell in cells[:2]] == ["a", "b"]
    assert len(cells) == 4
    assert read(cells[3]).replace(" ", "") == one_line(other).replace(" ", "")


@given(texts)
@example("```\n````\n~~~")
@example(HOSTILE)
def test_a_fenced_text_stays_within_its_fence(text: str) -> None:
    found = markdown().parse(f"{fenced(text)}\n\nafter\n")
    assert [token.type for token in found if token.level == 0] == [
        "fence",
        "paragraph_open",
        "paragraph_close",
    ]


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
@example("no")
@example("1e3")
@example("0o17")
@example("2024-01-01")
@example("---")
@example("\n---\n")
@example("a: b # c")
@example("&a *b !c %d @e")
@example("\x85\u2028\ufeff\x07")
def test_all_readers_of_yaml_agree_on_every_text(text: str) -> None:
    data = {"texts": [text, {"name": text}]}
    found = front_matter._to_yaml(data)
    assert metadata(f"---\n{found}---\n") == data
    assert YAML(typ="safe", pure=True).load(found) == data
    assert "\n---" not in found


def test_unescaped_text_is_refused_by_the_card() -> None:
    with pytest.raises(TypeError, match="this is not escaped: '<b>'"):
        card._escaped("<b>")


def test_what_servers_said_in_errors_is_not_in_the_card(folder: Folder, server: Server) -> None:
    from soupstock import testing

    folder.point_at(server.base_url, attempts=1)
    server.fail(testing.share(0.2, testing.error(500, "organisation org-4711 is broke")))
    run = folder.run()
    assert "org-4711" in run.manifest.steps[0].failures[0].example
    assert "org-4711" not in of(run)
    rows = run.manifest.steps[0].failures[0].rows
    assert f"| 1. `generate: question` | `InternalServerError` | {rows} |" in of(run)


def test_a_judge_that_was_not_measured_is_named(manifest: Manifest) -> None:
    assert "**`tester` has not been measured against people.**" in rendered(manifest)


def test_the_card_warns_that_the_embedded_model_cannot_judge_or_teach(manifest: Manifest) -> None:
    model = {"reference": "embedded", "model": SMOLLM2.model, "license": SMOLLM2.license}
    models = [
        ModelRecord(role=role, **model, terms=terms_of(SMOLLM2.license)).model_dump(mode="json")
        for role in ("writer", "judge")
    ]
    text = rendered(manifest, models=models)
    assert "**`SmolLM2-135M-Instruct` cannot judge.**" in text
    assert "> **A demonstration.** `SmolLM2-135M-Instruct` is a very small model" in text
    assert "- `SmolLM2-135M-Instruct`, `apache-2.0`: It says nothing of what a model writes" in text
    assert text.count("It says nothing of what a model writes") == 1


def test_known_and_unknown_licence_terms_are_worded_differently(
    manifest: Manifest,
) -> None:
    models = json.loads(manifest.model_dump_json())["models"]
    models[0] |= {"license": "llama3.1", "terms": TERMS}
    known = rendered(manifest, models=models)
    assert (
        "- `tester`, `llama3.1`: It asks for a name. (Some Terms, <https://example.org/terms>,"
        " version 1 May 2024, read on 2026-11-25)\n" in known
    )
    assert "- `tester`: its licence is unknown. Check it before you use these rows:" in known
    assert "not legal advice" in known
    models[0] |= {"license": "my-own", "terms": None}
    odd = rendered(manifest, models=models)
    assert "- `tester`, `my-own`: soupstock does not know this licence's terms" in odd
    models[0] |= {"license": None, "terms": TERMS}
    assert "- `tester`, Some Terms: It asks for a name." in rendered(manifest, models=models)


def test_what_a_stated_licence_and_a_known_service_say_is_in_the_manifest_and_the_card(
    folder: Folder, server: Server
) -> None:
    folder.point_at(server.base_url, license="Llama3.3")
    run = folder.run()
    (terms,) = {model.terms for model in run.manifest.models}
    assert terms is not None
    assert terms.source.endswith("/llama3_3/LICENSE")
    assert f"`Llama3.3`: {prose(terms.says)}" in of(run)


def test_a_partial_dataset_says_so_and_why(manifest: Manifest) -> None:
    text = rendered(manifest, outcome="partial", reason="stopped: the budget is spent")
    assert "> **This dataset is partial.** stopped: the budget is spent.\n" in text
    assert "partial" not in rendered(manifest)


ALL_STEPS = """\
models: {writer: big, judge: big}
source: {dataset: my/seeds, split: test, revision: v2}
steps:
  - {generate: a, model: writer, prompt: p, n: 3, stop: [END], schema: Fact}
  - {dedup: a, method: exact}
  - {filter: [not_refusal, {language: {column: a, any_of: [en, de]}}]}
  - {judge: j, model: judge, rubric: r}
  - {dataset: me/mine}
"""


STEPS = """\
20 rows were read from the dataset `my/seeds` (split `test`, revision `v2`). Then, step by step:

1. **generate**: `tester` (`writer`) wrote `a` with the prompt `p`, 3 answers for each row, \
in the form of the schema `Fact` (`max_tokens 1024, stop [END]`).
2. **dedup**: rows were dropped if their `a` is the same as an earlier row's, apart from case and \
spacing.
3. **filter**: rows were kept if they pass `not_refusal` and \
`language(column: a, any_of: [en, de])`.
4. **judge**: `tester` (`judge`) scored each row by the rubric `r`: `j` \
(`temperature 0, max_tokens 1024`).
5. **dataset**: all columns were written as they are.
6. **target**: the wanted number of rows was kept, in source order.
"""


def test_each_step_is_described_in_words(manifest: Manifest) -> None:
    pipeline = Pipeline.model_validate(YAML(typ="safe").load(ALL_STEPS)).model_dump(mode="json")
    steps = [step.model_dump() for step in manifest.steps]
    steps.append(steps[-1] | {"index": 6, "verb": "target", "label": "target: 3"})
    text = rendered(manifest, pipeline=pipeline, steps=steps)
    found = text.split("## How it was made\n\n")[1].split("\n\n### Models")[0].splitlines()
    assert found == STEPS.splitlines()


@pytest.mark.parametrize("kind", ["file", "dataset"])
def test_the_local_path_of_a_source_is_not_in_the_card(manifest: Manifest, kind: str) -> None:
    pipeline = manifest.pipeline | {"source": {kind: "/home/alice/private/seeds"}}
    text = rendered(manifest, pipeline=pipeline)
    assert "alice" not in text
    assert f"20 rows were read from the {kind} `seeds`" in text
    assert f"  {kind}: seeds\n" in text


def test_the_pipeline_in_the_card_makes_the_same_plan(folder: Folder, manifest: Manifest) -> None:
    block = rendered(manifest).split("as it was run</summary>\n\n```yaml\n")[1].split("\n```")[0]
    before = folder.plan().fingerprint
    folder.write("pipelines/mine.yaml", block)
    assert folder.plan().fingerprint == before


LIMITS = {"estimate": 0.41, "low": 0.21, "high": 0.61, "level": 0.95}
MEASURED = {
    "column": "quality",
    "models": ["judge"],
    "rubric": "plain",
    "fitness": {
        "verdict": "not fit",
        "sentence": "The judge failed its sanity check: 41 % of the time <b>",
        "rows": 4711,
        "mean": 0.77,
        "bar": 0.75,
        "auc": LIMITS,
        "kinds": [
            {"kind": "empty", "canaries": 4712, "mean": 0.13, "auc": LIMITS, "tells": "not apart"}
        ],
        "padding": {
            "rows": 4713,
            "rises": 4714,
            "falls": 1,
            "change": 0.2,
            "is_biased": True,
            "sentence": "Padding an answer raises its score for 4714 rows.",
        },
    },
    "jury": {
        "agreement": LIMITS,
        "rows": 4715,
        "disagreement": 0.17,
        "members": [{"role": "judge", "scores": 4716, "agreement": None, "fit": "cannot tell"}],
    },
    "calibration": {
        "column": "quality",
        "identity": {},
        "run": "f",
        "labels_sha256": "a",
        "labels": 4717,
        "unscored": 0,
        "annotators": 4718,
        "are_chosen": False,
        "threshold": 0.55,
        "criteria": [
            {
                "name": "right",
                "rows": 4719,
                "statistic": "kappa",
                "value": LIMITS,
                "is_beyond_chance": False,
                "sentence": "",
            }
        ],
        "sentences": ["Not provably better than chance: right."],
    },
}


def test_every_number_about_the_judge_is_one_of_the_manifests(manifest: Manifest) -> None:
    text = rendered(manifest, judges=[MEASURED])
    section = text.split("## How the judge scored it")[1].split("\n## ")[0]
    section = section.split("`quality`: **")[1]
    numbers = set(re.findall(r"\d[\d,]*(?:\.\d+)?", section.replace("&", "")))
    known = json.dumps(MEASURED)
    assert len(numbers) > 15
    assert {one for one in numbers if one.replace(",", "") not in known} == set()
    assert "**The judge failed its sanity check: 41 % of the time \\<b\\>**" in text
    assert "| an empty text | 4,712 | 0.13 | not detected: 0.41 (0.21 to 0.61) |" in section
    assert "has not been measured against people" not in section


def test_a_void_calibration_says_so_and_gives_no_figure(manifest: Manifest) -> None:
    calibration = MEASURED["calibration"] | {"void": ["model", "rubric"]}  # type: ignore[operator]
    text = rendered(manifest, judges=[MEASURED | {"calibration": calibration}])
    assert "is void: its model and rubric have changed since.**" in text
    assert "4,719" not in text
    assert "has not been measured against people" in text


DIAGRAM = """\
```text
sample source
│ 20 rows
▼ generate: question  by writer
│ 20 rows
▼ generate: answer  by writer
│ 20 rows
▼ judge: quality  by judge
│ 20 rows
▼ filter: score(quality)
│ {kept} rows
▼ dataset: me/mine
│ {kept} rows
▼ me/mine
```
"""


def test_the_pipeline_is_drawn_with_the_rows_that_went_through(manifest: Manifest) -> None:
    assert DIAGRAM.format(kept=manifest.kept) in rendered(manifest)


def test_what_names_a_person_is_counted_in_the_published_texts(
    folder: Folder, server: Server
) -> None:
    server.answer = lambda request: (
        f"Ask jane.roe{len(request.prompt)}@acme-tools.org!"
        if "response_format" not in request.body
        else '{"right": {"reason": "", "level": 3}, "kind": {"reason": "", "level": 2}}'
    )
    run = folder.run()
    dataset = run.manifest.dataset
    assert dataset is not None
    assert dataset.personal == {
        "secrets": 0,
        "emails": 2 * run.manifest.kept,
        "ibans": 0,
        "cards": 0,
        "phones": 0,
        "ips": 0,
    }
    assert f"| e-mail addresses | {2 * run.manifest.kept} |" in of(run)
    assert "jane.roe" not in of(run).split("## Personal data")[1]


def test_the_citation_holds_nothing_that_bibtex_acts_on(manifest: Manifest) -> None:
    block = rendered(manifest, name="a}b\\c, {d}").split("## How to cite it\n\n")[1]
    assert block.splitlines()[:3] == ["```bibtex", "@misc{a-b-c-d,", "  title = {abc, d},"]
    assert f"fingerprint {manifest.fingerprint[:12]}" in block
