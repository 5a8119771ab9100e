"""What the models' licences say about the models' output, for the cards."""

from collections.abc import Iterable, Iterator

from soupstock.artifacts.manifest import ModelRecord
from soupstock.artifacts.terms import TermsRecord
from soupstock.reports.card.tables import cell
from soupstock.text.markdown import Markdown, listed, paragraphs, prose

_CAUTION = Markdown(
    "This is a summary, not legal advice. The licence texts themselves apply, and they change."
)


def licence_terms(models: Iterable[ModelRecord]) -> Markdown:
    """List the models, each once, with what their licences say about their output."""
    terms = list(_terms(unique(models)))
    return paragraphs([listed(terms), _CAUTION]) if terms else Markdown()


def unique(models: Iterable[ModelRecord]) -> list[ModelRecord]:
    """Return each model once, whatever roles it plays."""
    return list({(one.model, one.license, one.terms): one for one in models}.values())


def models_without_terms(models: Iterable[ModelRecord]) -> list[ModelRecord]:
    """Return the models whose licence terms are not known."""
    return [model for model in unique(models) if model.terms is None]


def _terms(models: Iterable[ModelRecord]) -> Iterator[Markdown]:
    for model in models:
        name = cell(model.model)
        if model.terms is not None:
            called = cell(model.license) if model.license else prose(model.terms.title)
            yield Markdown(f"{name}, {called}: {_summary(model.terms)}")
        elif model.license is None:
            yield Markdown(
                f"{name}: its licence is unknown. Check it before you use these rows: it may limit"
                " their use, such as training other models."
            )
        else:
            yield Markdown(
                f"{name}, {cell(model.license)}: soupstock does not know this licence's terms for"
                " the model's output. Check them before you use these rows: the licence may require"
                " a notice or a name, or limit their use."
            )


def _summary(terms: TermsRecord) -> Markdown:
    seen = f"version {prose(terms.version)}, read on {terms.seen}"
    return Markdown(f"{prose(terms.says)} ({prose(terms.title)}, <{terms.source}>, {seen})")
