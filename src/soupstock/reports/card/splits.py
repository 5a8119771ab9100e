"""A dataset's configurations and splits, in words, for the card."""

from typing import NamedTuple

from soupstock.artifacts.dataset import DatasetRecord, SplittingRecord
from soupstock.reports.card.tables import cell, count
from soupstock.rows.splits import TRAIN
from soupstock.text.markdown import Markdown, code, joined, paragraphs, table


def splits_in_brief(dataset: DatasetRecord) -> Markdown:
    """Name the configurations or splits in a few words."""
    configs, splits = dataset.configs, dataset.configs[0].splits
    if len(configs) > 1:
        return Markdown(
            f"in the configurations {joined([code(config.name) for config in configs])}"
        )
    if dataset.splitting is None:
        return Markdown("in one split")
    names = joined([Markdown(f"{code(split.name)} ({split.rows:,})") for split in splits])
    return Markdown(f"in {'the splits ' if len(splits) > 1 else 'one split, '}{names}")


def splits_section(dataset: DatasetRecord) -> Markdown:
    """Make the table of configurations and splits, and say how rows were assigned to splits."""
    if len(dataset.configs) == 1 and dataset.splitting is None:
        return Markdown()
    rows = [
        (
            cell(config.name),
            cell(config.output_schema) if config.output_schema else Markdown("all columns"),
            cell(split.name),
            count(split.rows),
        )
        for config in dataset.configs
        for split in config.splits
    ]
    found = table(("configuration", "schema", "split", "rows"), rows, right=("rows",))
    rule = [_split(dataset.splitting)] if dataset.splitting else []
    return paragraphs([found, *rule, *map(_empty_split, empty_splits(dataset))])


class EmptySplit(NamedTuple):
    """A split that was asked for and has no row of a configuration."""

    config: str | None
    """None if the dataset has only one."""
    split: str


def empty_splits(dataset: DatasetRecord) -> list[EmptySplit]:
    """Return the splits that were asked for and are empty."""
    if dataset.splitting is None:
        return []
    several = len(dataset.configs) > 1
    return [
        EmptySplit(config.name if several else None, split)
        for config in dataset.configs
        for split in (TRAIN, *dataset.splitting.shares)
        if split not in {one.name for one in config.splits}
    ]


def _empty_split(one: EmptySplit) -> Markdown:
    where = f" of {code(one.config)}" if one.config else ""
    return Markdown(f"The split {code(one.split)}{where} is empty: there are too few groups.")


def _split(splitting: SplittingRecord) -> Markdown:
    """Say how rows were assigned to splits."""
    evenly = (
        f", in the same shares for each value of {code(splitting.stratify)}"
        if splitting.stratify
        else ""
    )
    rows = "1 row" if splitting.largest == 1 else f"{splitting.largest:,} rows"
    return Markdown(
        "Rows from one source row, or with nearly the same texts or questions, form a group, and a"
        f" group is never divided between splits. There are {splitting.groups:,} groups; the"
        f" largest has {rows}. The hash of a group's first row decides its split{evenly}, so a"
        " group keeps its split when rows are added to the end. A split that would be empty gets"
        " one group."
    )
