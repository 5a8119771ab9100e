"""Give the reasons in an overlap not to merge the models trained on the datasets."""

from collections.abc import Iterator

from soupstock.artifacts.overlap import CorpusRecord, OverlapRecord, PairRecord

_EXCERPT = 60


def warnings_of(found: OverlapRecord) -> Iterator[str]:
    """Say what to check before merging."""
    yield from _systems(found)
    yield from _shapes(found)
    yield from _anchors(found)
    yield from _overlaps(found)
    within = {one.name: one.within for one in found.datasets}
    for pair in found.apart:
        yield from _pair(pair, within)


def _systems(found: OverlapRecord) -> Iterator[str]:
    first, *others = found.datasets
    for one in others:
        if {system.text for system in one.systems} != {system.text for system in first.systems}:
            yield (
                f"system prompts differ: {first.name} has {_prompt(first)}, and {one.name} has"
                f" {_prompt(one)}"
            )
    for one in found.datasets:
        if one.system_prompts > 1:
            prompts = _prompt(one)
            yield f"{one.name} does not have one system prompt for all rows: it has {prompts}"


def _prompt(one: CorpusRecord) -> str:
    """Quote the most frequent system prompt."""
    first = one.systems[0] if one.systems else None
    if first is None or first.text is None:
        return "none" if one.system_prompts <= 1 else f"none in {first.rows if first else 0:,} rows"
    excerpt = first.text[:_EXCERPT] + ("…" if len(first.text) > _EXCERPT else "")
    others = one.system_prompts - 1
    return f"'{excerpt}'" + (f" and {others:,} other{'s' * (others > 1)}" if others else "")


def _shapes(found: OverlapRecord) -> Iterator[str]:
    first, *others = found.datasets
    for one in others:
        if set(one.shapes) != set(first.shapes):
            yield (
                f"shapes differ: {first.name} has {' and '.join(first.shapes)}, and {one.name} has"
                f" {' and '.join(one.shapes)}"
            )


def _anchors(found: OverlapRecord) -> Iterator[str]:
    if found.anchor and not found.anchor_rows:
        yield f"no dataset has any of {found.anchor}, which should be their anchor"
    for one in found.datasets:
        if one.anchor_missing:
            total = f"{found.anchor_rows:,} rows of the anchor that others have"
            yield f"{one.name} lacks {one.anchor_missing:,} of the {total}"
        if one.rows and one.anchor == one.rows:
            yield f"{one.name} has no rows outside the anchor"


def _overlaps(found: OverlapRecord) -> Iterator[str]:
    for one in found.crossings:
        if one.share > found.most:
            outside = f"{one.rows:,} rows" + (" outside the anchor" if found.anchor else "")
            yield (
                f"{one.overlapping:,} of {one.of}'s {outside} ({one.share:.1%}) are in {one.within}"
                f" too, or their prompts are; at most {found.most:.1%} may be"
            )


def _pair(pair: PairRecord, within: dict[str, float | None]) -> Iterator[str]:
    both = f"{pair.one} and {pair.other}"
    halves = [within[name] for name in (pair.one, pair.other)]
    known = [half for half in halves if half is not None]
    if pair.words is not None and known and pair.words <= max(known):
        yield f"the words of {both} differ no more than those of the two halves of one dataset"
    if pair.sources:
        yield f"{both} have rows from the same {pair.sources:,} source rows"
    if pair.held_out:
        yield f"{pair.held_out:,} rows are held out in one of {both} and trained on in the other"
