// One candidate.

import { card, el, put, scrolled, table } from "./dom.js";
import { blocks } from "./blocks.js";
import { change, count, decimal, seconds, short, valueOf, whole } from "./format.js";
import { lines } from "./lines.js";
import { ask } from "./live.js";

const left = (text) => ({ text, left: true });

export function candidatePage({ main, search, rest, href }) {
  return async () => {
    const told = await ask("search", { s: search });
    const one = await ask("candidate", { s: search, id: rest[0] || "" });
    put(main, [one, told.metrics, main.clientWidth], () => [
      heading(one),
      tiles(one, told.metrics),
      el(
        "div",
        { class: "grid" },
        el("div", { class: "w5 stack" }, card("Architecture", el("span", { class: "muted" }, `${one.family}, ${one.pattern}`), blocks(one.architecture)), commandsOf(one)),
        el("div", { class: "w7 stack" }, curvesOf(one, main.clientWidth), trainingsOf(one), latenciesOf(one), lineageOf(one, told, search, href)),
      ),
    ]);
    return told.whole;
  };
}

function heading(one) {
  const born = one.generation === null ? "trained by promotion alone" : `candidate ${one.candidate} of generation ${one.generation}`;
  return el("div", {}, el("h1", {}, el("span", { class: "id" }, one.id), one.name ? ` ${one.name}` : ""), el("p", { class: "muted" }, `${born}; ${one.origin}: ${one.operator}`, one.on_front ? "; on the search's front" : ""));
}

export function metricsOf(one, metrics) {
  return metrics.filter((metric) => one.values[metric.name] !== undefined);
}

function tiles(one, metrics) {
  const status = one.values.status;
  return el(
    "dl",
    { class: "tiles" },
    status === undefined ? null : el("div", { class: "tile" }, el("dt", {}, "status"), el("dd", { class: status && status !== "ok" ? "bad-text" : null }, (status || "pending").replaceAll("_", " "))),
    metricsOf(one, metrics).map((metric) => el("div", { class: "tile" }, el("dt", {}, metric.label), el("dd", {}, valueOf(metric, one.values[metric.name])))),
  );
}

function nameOf(run, several) {
  const parts = [run.stage || "search"];
  if (several) parts.push(`replicate ${run.replicate}, rate ${run.rate}${run.rung ? `, rung ${run.rung}` : ""}`);
  return parts.join(", ");
}

export function curveFigure(curves, width) {
  const x = { title: "training tokens", write: count };
  const y = { title: "training loss [nats/token]", write: (value) => String(Number(value.toPrecision(3))), exact: (value) => decimal(value, 4) };
  const last = curves.map((curve) => `${curve.name} ends at ${decimal(curve.points.at(-1)[1])}`).slice(0, 4).join("; ");
  return lines(curves, x, y, width, 250, `Training loss against tokens: ${last}.`);
}

function curvesOf(one, width) {
  const curves = one.curves.filter((run) => run.points.length > 1).map((run, index) => ({ name: nameOf(run, one.curves.length > 1), points: run.points.map((point) => [point[1], point[2]]), color: index % 8 }));
  const inner = width > 1000 ? Math.round((width * 7) / 12) - 70 : width - 50;
  if (!curves.length) return card("Training loss", null, el("p", { class: "muted" }, "No curve is there."));
  const legend = curves.length > 1 ? el("ul", { class: "chips" }, curves.map((curve) => el("li", { class: `chip f${curve.color}` }, "■ ", el("span", { class: "label" }, curve.name)))) : null;
  return card("Training loss", null, legend, curveFigure(curves, Math.max(300, inner)));
}

function trainingsOf(one) {
  const rows = one.trainings.map((run) =>
    el(
      "tr",
      {},
      el("td", { class: "l" }, nameOf(run, true)),
      el("td", {}, run.learning_rate === null ? "–" : String(Number(run.learning_rate.toPrecision(3)))),
      run.status === "ok"
        ? [el("td", {}, decimal(run.val_bits_per_byte, 4), run.val_standard_error ? el("span", { class: "muted" }, ` ± ${decimal(run.val_standard_error, 4)}`) : null), el("td", {}, decimal(run.test_bits_per_byte, 4)), el("td", {}, count(run.tokens)), el("td", {}, seconds(run.seconds)), el("td", {}, count(run.tokens_per_second)), el("td", {}, run.peak_memory_bytes === null ? "–" : `${count(run.peak_memory_bytes)}B`), el("td", { class: "l" }, run.device || "–")]
        : el("td", { class: "wrap bad-text", colspan: 7 }, `${run.status.replaceAll("_", " ")}: ${run.error || ""}`),
    ),
  );
  const heads = [left("training"), "learning rate", "validation", "test", "tokens", "time", "tokens/s", "memory", left("device")];
  return card("Trainings", null, rows.length ? scrolled("trainings", table("trainings", heads, rows)) : el("p", { class: "muted" }, "None has ended yet."));
}

function latenciesOf(one) {
  const rows = one.latencies.map((run) =>
    el(
      "tr",
      {},
      el("td", { class: "l" }, run.mode, run.stage ? ` (${run.stage})` : ""),
      el("td", {}, whole(run.batch_size)),
      el("td", {}, whole(run.context)),
      run.status === "ok"
        ? [el("td", {}, run.marked ? "~" : "", seconds(run.latency_seconds)), el("td", {}, decimal(run.relative)), el("td", {}, seconds(run.seconds_median)), el("td", {}, `${seconds(run.seconds_p10)} – ${seconds(run.seconds_p90)}`), el("td", { class: "l" }, `${run.source}${run.device ? `, ${run.device}` : ""}`)]
        : el("td", { class: "wrap bad-text", colspan: 5 }, `${run.status.replaceAll("_", " ")}: ${run.error || ""}`),
    ),
  );
  const heads = [left("mode"), "batch", "context", "latency", "× reference", "raw median", "raw p10 – p90", left("how")];
  const note = one.latencies.some((run) => run.marked) ? el("span", { class: "muted" }, "~: the reference moved by more than 10%") : null;
  return card("Latency", note, rows.length ? scrolled("latencies", table("latencies", heads, rows)) : el("p", { class: "muted" }, "Not measured."));
}

function lineageOf(one, told, search, href) {
  const known = one.lineage.ancestors;
  if (known.length < 2) return card("Where it comes from", null, el("p", { class: "muted" }, `It has no parents here: ${one.origin}.`));
  const byId = Object.fromEntries(known.map((ancestor) => [ancestor.id, ancestor]));
  const metrics = told.metrics.filter((metric) => told.objectives.some((objective) => objective.name === metric.name));
  const rows = known.map((child) =>
    el(
      "tr",
      {},
      el("td", { class: "l" }, "· ".repeat(child.depth), el("a", { href: href(search, "candidate", child.id), class: "id", "data-key": `ancestor ${child.id}` }, short(child.id))),
      el("td", {}, child.generation),
      el("td", { class: "wrap" }, child.operator, child.parents.length ? el("span", { class: "muted" }, ` of ${child.parents.map(short).join(" and ")}`) : null, child.changed.map((text) => el("div", { class: "small" }, text))),
      metrics.map((metric) => el("td", {}, valueOf(metric, child.values[metric.name]), effect(metric, child, byId))),
      el("td", { class: "l" }, el("a", { href: href(search, "compare", child.parents[0] || child.id, child.id), hidden: !child.parents.length }, "compare")),
    ),
  );
  const heads = [left("candidate"), "gen", left("what was changed"), ...metrics.map((metric) => metric.heading), left("with its parent")];
  const more = one.lineage.more ? el("p", { class: "muted" }, "Further ancestors are not shown.") : null;
  return card("Where it comes from", el("span", { class: "muted" }, "percentages: against the first parent"), scrolled("ancestors", table("ancestors", heads, rows)), more);
}

function effect(metric, child, byId) {
  const parent = byId[child.parents[0]];
  const found = parent ? change(metric, parent.values[metric.name], child.values[metric.name]) : null;
  if (!found || found.same) return null;
  return el("span", { class: `small ${found.good ? "delta-good" : "delta-bad"}` }, ` ${found.text}`, el("span", { class: "hidden-text" }, found.good ? " better" : " worse"));
}

function commandsOf(one) {
  const shown = one.commands.map((command) => [el("h3", {}, command.what), command.command ? el("pre", { tabindex: "0" }, command.command) : el("p", { class: "muted" }, "Promotion keeps weights, and did not train it.")]);
  return card("Commands", el("span", { class: "muted" }, "to type; this page runs nothing"), shown);
}
