"""Show in a terminal which models can be used, what they can do, and what is missing."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from soupstock.cli.display.terminal import new_console
from soupstock.errors import shown
from soupstock.inference.servers.model import Model
from soupstock.runs.survey import ModelSurvey


def show_models(findings: Sequence[ModelSurvey], *, is_probed: bool) -> None:
    """Print each model with its server, price, abilities and what is missing."""
    console = new_console()
    for finding in findings:
        roles = f"{', '.join(finding.roles)}: " if finding.roles else ""
        name = f" ({finding.model.name})" if finding.model else ""
        console.print(Text(shown(f"{roles}{finding.reference}{name}"), style="bold"))
        for label, text in _lines(finding):
            style = "yellow" if label == "missing" else ""
            line = Text(f"   {label:<9}{shown(text)}", style=style)
            console.print(line, soft_wrap=True)
    calls, tokens = (sum(getattr(one, what) for one in findings) for what in ("calls", "tokens"))
    usable = sum(not one.missing for one in findings)
    took = f"; probes took {calls:,} calls and {tokens:,} tokens" if is_probed and calls else ""
    console.print(f"{usable:,} of {len(findings):,} models can be used{took}")


def _lines(finding: ModelSurvey) -> Iterator[tuple[str, str]]:
    model = finding.model
    if finding.started:
        yield "starts", f"a run starts {finding.started} for it when it is first needed"
    for url, what in finding.addresses.items():
        yield "at", f"{url}: {what}"
    if model is not None:
        yield from _settings(model)
    if finding.abilities:
        yield "can", "; ".join(f"{name}: {how}" for name, how in finding.abilities.items())
    for sentence in finding.missing:
        yield "missing", sentence
    for sentence in finding.advice:
        yield "note", sentence


def _settings(model: Model) -> Iterator[tuple[str, str]]:
    """Say what the settings hold."""
    if model.mode != "live":
        how = "a provider's batch API" if model.mode == "batch" else "files for vllm run-batch"
        yield "asked", f"by {how}"
    if model.api_key_env:
        yield "key", f"{model.api_key_env} is {'set' if model.api_key else 'not set'}"
    if not model.price.is_known:
        yield "price", "unknown: set input_price and output_price"
    elif model.input_price or model.output_price:
        prices = f"${model.input_price:g} (prompt) and ${model.output_price:g} (answer)"
        yield "price", f"{prices} per million tokens"
    else:
        yield "price", "none"
