"""How a dataset is arranged, in words: its configurations and splits, for the card."""

from typing import NamedTuple

from soupstock.artifacts.dataset import DatasetRecord, SplittingRecord
from soupstock.reports.card.tables import cell, count
from soupstock.rows.splits import TRAIN
from soupstock.text.markdown import Markdown, code, joined, paragraphs, table


def arrangement(dataset: DatasetRecord) -> Markdown:
    """Say in few words how many configurations and splits there are."""
    configs, splits = dataset.configs, dataset.configs[0].splits
    if len(configs) > 1:
        return Markdown(f"as {joined([code(config.name) for config in configs])}")
    if dataset.splitting is None:
        return Markdown("in one split")
    told = joined([Markdown(f"{code(split.name)} ({split.rows:,})") for split in splits])
    return Markdown(f"in {'the splits ' if len(splits) > 1 else 'one split, '}{told}")


def arranged(dataset: DatasetRecord) -> Markdown:
    """Make the table of configurations and splits, and say how rows got where they are."""
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
    told = [_split(dataset.splitting)] if dataset.splitting else []
    return paragraphs([found, *told, *map(_vacancy, vacancies(dataset))])


class Vacancy(NamedTuple):
    """A split that was asked for, and has no row of a configuration."""

    config: str | None
    """None where the dataset has but one."""
    split: str


def vacancies(dataset: DatasetRecord) -> list[Vacancy]:
    """Name the splits that were asked for and are empty."""
    if dataset.splitting is None:
        return []
    several = len(dataset.configs) > 1
    return [
        Vacancy(config.name if several else None, split)
        for config in dataset.configs
        for split in (TRAIN, *dataset.splitting.shares)
        if split not in {one.name for one in config.splits}
    ]


def _vacancy(one: Vacancy) -> Markdown:
    where = f"of {code(one.config)} " if one.config else ""
    return Markdown(f"No row {where}is in the split {code(one.split)}: there are too few groups.")


def _split(splitting: SplittingRecord) -> Markdown:
    """Say how rows were put into splits."""
    evenly = (
        f", with an equal share of each value of {code(splitting.stratify)}"
        if splitting.stratify
        else ""
    )
    one = (
        "the largest is one row"
        if splitting.largest == 1
        else (f"the largest has {splitting.largest:,} rows")
    )
    return Markdown(
        "Rows that come from one source row, or whose texts or questions are nearly the same, are"
        f" on one side of every split together: {splitting.groups:,} such groups, of which {one}."
        f" Where a group goes is drawn by the hash of its first row{evenly}, so that it stays there"
        " when rows are added behind it; a split that would be empty so has got one group more."
    )
