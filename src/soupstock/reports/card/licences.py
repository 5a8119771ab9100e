"""What the models' licences say of what models write, in words, for the cards."""

from collections.abc import Iterable, Iterator

from soupstock.artifacts.manifest import ModelRecord
from soupstock.artifacts.terms import TermsRecord
from soupstock.reports.card.tables import cell
from soupstock.text.markdown import Markdown, listed, paragraphs, prose

_CAUTION = Markdown(
    "This sums up what somebody read, and is no legal advice: the texts themselves hold, and they"
    " change."
)


def licences_told(models: Iterable[ModelRecord]) -> Markdown:
    """Say of each model, once, what its licence says of what it writes."""
    told = list(_told(unique(models)))
    return paragraphs([listed(told), _CAUTION]) if told else Markdown()


def unique(models: Iterable[ModelRecord]) -> list[ModelRecord]:
    """Return each model once, whatever roles it plays."""
    return list({(one.model, one.license, one.terms): one for one in models}.values())


def unread(models: Iterable[ModelRecord]) -> list[ModelRecord]:
    """Return the models of which nobody has said what their licences say."""
    return [model for model in unique(models) if model.terms is None]


def _told(models: Iterable[ModelRecord]) -> Iterator[Markdown]:
    for model in models:
        name = cell(model.model)
        if model.terms is not None:
            called = cell(model.license) if model.license else prose(model.terms.title)
            yield Markdown(f"{name}, {called}: {_summary(model.terms)}")
        elif model.license is None:
            yield Markdown(
                f"{name}: its licence is not known. Look before publishing: it may limit what these"
                " rows are used for, such as training other models."
            )
        else:
            yield Markdown(
                f"{name}, {cell(model.license)}: what this licence says of what the model writes is"
                " not known here. Look before publishing: it may ask for a notice or a name, or"
                " limit what these rows are used for."
            )


def _summary(terms: TermsRecord) -> Markdown:
    seen = f"version {prose(terms.version)}, read on {terms.seen}"
    return Markdown(f"{prose(terms.says)} ({prose(terms.title)}, <{terms.source}>, {seen})")
