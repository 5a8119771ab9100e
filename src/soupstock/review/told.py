"""What people did, in words: for the dataset card."""

from soupstock import spec
from soupstock.artifacts.review import ReviewRecord
from soupstock.text.markdown import Markdown, code, joined


def reviewed(step: spec.Review, told: ReviewRecord | None) -> str:
    """Say which rows people read, and what came of it."""
    if told is None or not told.answered:
        return "nobody has read the rows yet"
    how = {
        "random": "drawn at random",
        "uncertain": "drawn the likelier the less sure the judge was",
    }.get(str(step.strategy), "drawn from each kind alike")
    people = "one person" if told.annotators == 1 else f"{told.annotators:,} people"
    parts = [f"{people} answered for {told.answered:,} of {told.sampled:,} rows, {how}"]
    if told.vetoed:
        vetoes = [Markdown(f"{count:,} as {code(veto, 40)}") for veto, count in told.vetoed.items()]
        parts.append(f"they dropped {joined(vetoes)}")
    if told.corrected:
        parts.append(f"they corrected {told.corrected:,}")
    return "; ".join(parts)
