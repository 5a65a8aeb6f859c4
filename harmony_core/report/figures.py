"""The report's figures, as Altair charts; axes name the quantity and its unit."""

from __future__ import annotations

import altair as alt
import polars as pl

from harmony_core.metrics import LATENCY, LOSS, Metric, metric
from harmony_core.report.findings import Findings

WIDTH, HEIGHT = 460, 300

# Altair writes for this Vega-Lite; vl_convert calls v6.1.0 v6.1.
VEGA_LITE = alt.SCHEMA_VERSION.rsplit(".", 1)[0]

# The padding keeps points off the frame; without a zero they do not press into a corner.
_PADDED = alt.Scale(zero=False, padding=14)

FRONT_COLOR, OTHER_COLOR = "#d1495b", "#9aa5b1"


def front_by_latency(findings: Findings) -> alt.Chart:
    """Validation bits per byte against latency; the Pareto front stands out."""
    data = findings.candidates.filter(pl.col("latency_seconds").is_not_null()).with_columns(
        milliseconds=pl.col("latency_seconds") * 1e3
    )
    return _trade_off(data, "milliseconds", f"latency [ms] ({findings.latency_setting})")


def front_by_active_params(findings: Findings) -> alt.Chart:
    """Validation bits per byte against active parameters; the Pareto front stands out."""
    data = findings.candidates.with_columns(millions=pl.col("num_active_params") / 1e6)
    return _trade_off(data, "millions", "active parameters [millions]")


def front_by(findings: Findings, cost: Metric) -> alt.Chart:
    """Validation bits per byte against another objective; the Pareto front stands out."""
    data = findings.candidates.filter(pl.col(cost.name).is_not_null())
    return _trade_off(data, cost.name, cost.label)


def other_objectives(findings: Findings) -> dict[str, Metric]:
    """By its figure's name, each objective that has none of those above."""
    others = (metric(name) for name in findings.objectives if name not in (LOSS, LATENCY, "num_active_params"))
    return {f"front_{one.name}": one for one in others}


def training_curves(findings: Findings) -> alt.Chart:
    """Training loss against tokens, a line for each of the front's first members, best first."""
    order = findings.shown["architecture_id"].unique(maintain_order=True).to_list()
    chart: alt.Chart = (
        alt.Chart(findings.curves, width=WIDTH, height=HEIGHT)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("tokens:Q", title="training tokens", axis=alt.Axis(format="~s")),
            y=alt.Y("train_loss:Q", title="training loss [nats/token]", scale=alt.Scale(zero=False)),
            color=alt.Color("architecture_id:N", title="architecture", sort=order),
            tooltip=["architecture_id:N", "tokens:Q", alt.Tooltip("train_loss:Q", format=".4f")],
        )
    )
    return chart


def progress(findings: Findings) -> alt.HConcatChart:
    """Best validation bits per byte, and hypervolume, of all generations so far."""
    best = _by_generation(findings.progress, "best_val_bits_per_byte", "best validation bits per byte")
    volume = _by_generation(findings.progress, "hypervolume", "hypervolume (1 is the ideal point)")
    return alt.hconcat(best, volume)


def all_figures(findings: Findings) -> dict[str, alt.TopLevelMixin]:
    """Every figure by its file's name."""
    return {
        "front_latency": front_by_latency(findings),
        "front_active_params": front_by_active_params(findings),
        **{name: front_by(findings, one) for name, one in other_objectives(findings).items()},
        "training_curves": training_curves(findings),
        "progress": progress(findings),
    }


def _trade_off(data: pl.DataFrame, column: str, title: str) -> alt.Chart:
    columns = [column, "val_bits_per_byte", "architecture_id", "pattern", "generation", "on_front"]
    # The front is drawn last, so that no other point hides it.
    data = data.select(columns).sort("on_front", maintain_order=True)
    names = ["Pareto front", "other candidates"]
    data = data.with_columns(kind=pl.when("on_front").then(pl.lit(names[0])).otherwise(pl.lit(names[1])))
    chart: alt.Chart = (
        alt.Chart(data, width=WIDTH, height=HEIGHT)
        .mark_circle(opacity=0.85)
        .encode(
            x=alt.X(f"{column}:Q", title=title, scale=_PADDED),
            y=alt.Y("val_bits_per_byte:Q", title="validation bits per byte (lower is better)", scale=_PADDED),
            color=alt.Color(
                "kind:N",
                title=None,
                legend=alt.Legend(orient="top"),
                scale=alt.Scale(domain=names, range=[FRONT_COLOR, OTHER_COLOR]),
            ),
            size=alt.Size(
                "kind:N", title=None, legend=alt.Legend(orient="top"), scale=alt.Scale(domain=names, range=[90, 40])
            ),
            tooltip=[
                "architecture_id:N",
                "pattern:N",
                "generation:Q",
                alt.Tooltip("val_bits_per_byte:Q", format=".4f"),
                alt.Tooltip(f"{column}:Q", format=".4g"),
            ],
        )
    )
    return chart


def _by_generation(data: pl.DataFrame, column: str, title: str) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(data.select("generation", column), width=WIDTH // 2, height=HEIGHT // 2)
        .mark_line(color=FRONT_COLOR, point=alt.OverlayMarkDef(color=FRONT_COLOR))
        .encode(
            x=alt.X("generation:O", title="generation", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(f"{column}:Q", title=title, scale=_PADDED, axis=alt.Axis(format=".3f", tickCount=5)),
            tooltip=["generation:O", alt.Tooltip(f"{column}:Q", format=".4f")],
        )
    )
    return chart
