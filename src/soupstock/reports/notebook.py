"""A run at a glance, as HTML for a notebook: the funnel and the calls. All text is escaped."""

from markupsafe import Markup, escape

from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import shown

_STEP = Markup(
    "<tr><td style='text-align:left'>{label}</td><td>{rows_in:,}</td><td>{rows_kept:,}</td>"
    "<td style='text-align:left'>{why}</td></tr>"
)
_RUN = Markup(
    "<div><p><b>{name}</b>: {rows:,} rows in, {kept:,} kept ({outcome}); "
    "{calls:,} calls made, {found:,} answers from the cache</p>"
    "<table><thead><tr><th style='text-align:left'>step</th><th>in</th><th>kept</th>"
    "<th style='text-align:left'>dropped</th></tr></thead><tbody>{steps}</tbody></table></div>"
)


def glance(manifest: Manifest) -> str:
    """Return a run's funnel as HTML."""
    outcome = (
        manifest.outcome if manifest.reason is None else f"{manifest.outcome}: {manifest.reason}"
    )
    return _RUN.format(
        name=shown(manifest.name),
        rows=manifest.rows,
        kept=manifest.kept,
        outcome=shown(outcome),
        calls=manifest.paid.calls,
        found=manifest.paid.found,
        steps=Markup("").join(_step(step) for step in manifest.steps),
    )


def _step(step: StepRecord) -> Markup:
    why = [f"{shown(reason)}: {count:,}" for reason, count in step.dropped.items()]
    return _STEP.format(
        label=shown(step.label),
        rows_in=step.rows_in,
        rows_kept=step.rows_kept,
        why=escape(", ".join(why)),
    )
