"""One file for each verb, and all that is known of the verb. No verb imports another."""

from collections.abc import Mapping
from typing import Any

from soupstock import spec
from soupstock.spec.fields import Spec
from soupstock.steps import (
    converse,
    dataset,
    decontaminate,
    dedup,
    filter,  # noqa: A004 - the verb's own name
    generate,
    judge,
    mask,
    review,
    select,
    task,
    verify,
)
from soupstock.steps.verb import Made, Verb

VERBS: Mapping[type[Spec], Verb[Any]] = {
    verb.spec: verb
    for verb in (
        generate.VERB,
        task.VERB,
        converse.VERB,
        verify.VERB,
        judge.VERB,
        filter.VERB,
        mask.VERB,
        dedup.VERB,
        decontaminate.VERB,
        select.VERB,
        review.VERB,
        dataset.VERB,
    )
}
"""Every verb, by what a person writes."""


def made_by(step: spec.Step) -> Made:
    """Name the columns that a step makes."""
    return VERBS[type(step)].makes(step)
