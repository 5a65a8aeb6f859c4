// Two candidates side by side.

import { blocks, unfolded } from "./blocks.js";
import { curveFigure, metricsOf } from "./candidate.js";
import { card, el, put, scrolled, table } from "./dom.js";
import { change, seconds, short, valueOf } from "./format.js";
import { ask } from "./live.js";

export function comparePage({ main, search, rest, href }) {
  return async () => {
    const told = await ask("search", { s: search });
    const [a, b] = await Promise.all(rest.slice(0, 2).map((id) => ask("candidate", { s: search, id })));
    if (!b) throw new Error("a comparison needs two candidates: tick two in the table");
    put(main, [a, b, told.metrics, main.clientWidth], () => {
      const marks = differing(unfolded(a.architecture), unfolded(b.architecture));
      const title = (one) => el("a", { href: href(search, "candidate", one.id), class: "id" }, short(one.id));
      const side = (one, differs) => el("div", { class: "w6 stack" }, card(title(one), el("span", { class: "muted" }, `${one.family}, ${one.operator}`), blocks(one.architecture, differs)));
      return [
        el("h1", {}, "Two candidates"),
        card("Metrics", el("span", { class: "muted" }, "percentages: the second against the first"), metricsTable(a, b, told.metrics)),
        curvesOf([a, b], main.clientWidth),
        el("div", { class: "grid" }, side(a, marks[0]), side(b, marks[1])),
        el("p", { class: "muted" }, "Blocks on a coloured ground have no equal in the other's order."),
      ];
    });
    return told.whole;
  };
}

function metricsTable(a, b, metrics) {
  const rows = metricsOf(a, metrics).map((metric) => {
    const [before, after] = [a.values[metric.name], b.values[metric.name]];
    const found = change(metric, before, after);
    return row(metric.label, valueOf(metric, before), valueOf(metric, after), found && !found.same ? el("span", { class: found.good ? "delta-good" : "delta-bad" }, found.text, el("span", { class: "hidden-text" }, found.good ? " better" : " worse")) : "–");
  });
  for (const first of a.latencies.filter((one) => !one.stage)) {
    const second = b.latencies.find((one) => !one.stage && one.mode === first.mode && one.context === first.context && one.batch_size === first.batch_size);
    if (!second) continue;
    const found = change({ sign: 1 }, first.latency_seconds, second.latency_seconds);
    rows.push(row(`${first.mode}, batch ${first.batch_size}, context ${first.context}`, seconds(first.latency_seconds), seconds(second.latency_seconds), found && !found.same ? el("span", { class: found.good ? "delta-good" : "delta-bad" }, found.text) : "–"));
  }
  rows.unshift(row("status", a.values.status || "pending", b.values.status || "pending", ""), row("d_model", a.architecture.d_model, b.architecture.d_model, ""));
  return scrolled("metrics", table("metrics of both", [{ text: "metric", left: true }, short(a.id), short(b.id), "change"], rows));
}

function row(name, before, after, told) {
  return el("tr", {}, el("th", { scope: "row", class: "l" }, name), el("td", {}, before), el("td", {}, after), el("td", {}, told));
}

function curvesOf(both, width) {
  const curves = both.flatMap((one, index) => one.curves.filter((run) => !run.stage && run.points.length > 1).map((run) => ({ name: `${short(one.id)}, rate ${run.rate}`, points: run.points.map((point) => [point[1], point[2]]), color: index ? 3 : 0 })));
  if (!curves.length) return null;
  const legend = el("ul", { class: "chips" }, both.map((one, index) => el("li", { class: `chip f${index ? 3 : 0}` }, "■ ", el("span", { class: "label id" }, short(one.id)))));
  return card("Training loss", null, legend, curveFigure(curves, Math.max(300, width - 50)));
}

// Which entries of two lists are in no longest common subsequence, of each list.
function differing(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) for (let j = b.length - 1; j >= 0; j -= 1) length[i][j] = a[i] === b[j] ? 1 + length[i + 1][j + 1] : Math.max(length[i + 1][j], length[i][j + 1]);
  const marks = [a.map(() => true), b.map(() => true)];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      marks[0][i] = marks[1][j] = false;
      i += 1;
      j += 1;
    } else if (length[i + 1][j] >= length[i][j + 1]) i += 1;
    else j += 1;
  }
  return marks;
}
