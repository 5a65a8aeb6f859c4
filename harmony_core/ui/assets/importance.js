// What goes with which metric.

import { card, el, put, scrolled, svg, table } from "./dom.js";
import { count, decimal, whole } from "./format.js";
import { ask } from "./live.js";

export function importancePage({ main, search, query, href, again }) {
  const place = el("div", { class: "stack" });
  let told = null;

  async function turn() {
    told = await ask("search", { s: search });
    if (!told.metrics) {
      main.replaceChildren(el("p", { class: "banner bad" }, told.error || "This search has no candidates yet."));
      return told.whole;
    }
    const metric = query.get("metric") || told.objectives[0].name;
    if (!main.contains(place)) {
      const choice = el("label", {}, "metric", el("select", { onchange: choose }, told.metrics.map((one) => el("option", { value: one.name, selected: one.name === metric }, one.label))));
      main.replaceChildren(el("h1", {}, "What goes with what"), el("div", { class: "bar" }, choice), place);
    }
    const found = await ask("importance", { s: search, metric });
    put(place, found, () => shown(found, told.metrics.find((one) => one.name === metric), told.metrics));
    return told.whole && found.state !== "computing";
  }

  function choose(event) {
    query.set("metric", event.target.value);
    history.replaceState(null, "", `${href(search, "metrics")}?${query}`);
    again();
  }

  return turn;
}

function shown(found, metric, metrics) {
  if (found.state === "computing") return card(metric.label, null, el("p", { class: "muted", role: "status" }, "A model is being fitted to the candidates; this takes some seconds."));
  if (found.state === "impossible") return card(metric.label, null, el("p", {}, found.reason));
  const told = `${whole(found.candidates)} candidates, five folds: Spearman correlation ${decimal(found.spearman, 2)} on candidates that the model had not seen`;
  if (found.state === "not determined") {
    return card(metric.label, el("span", { class: "muted" }, told), el("p", {}, el("strong", {}, "Not determined. "), `Below ${found.least} a model of these features does not tell this metric, so nothing is said of what goes with it.`));
  }
  const most = Math.max(...found.features.map((one) => one.importance));
  const rows = found.features.map((one) =>
    el(
      "tr",
      {},
      el("td", { class: "l" }, named(one.name, metrics)),
      el("td", { class: "l" }, meter(one.importance / most)),
      el("td", {}, `${decimal(one.importance)} ± ${decimal(one.spread)}`),
      el("td", { class: "l" }, Math.abs(one.direction) < 0.1 ? "neither" : `${one.direction * metric.sign < 0 ? "better" : "worse"} with more (${decimal(one.direction, 2)})`),
      el("td", {}, amount(one.best)),
      el("td", {}, one.prior === null ? "–" : amount(one.prior)),
    ),
  );
  const left = (text) => ({ text, left: true });
  const heads = [left("feature"), left("importance"), "fall of the correlation", left("direction"), "best tenth", "prior"];
  return card(
    metric.label,
    el("span", { class: "muted" }, told),
    scrolled("importances", table("permutation importances", heads, rows, { class: "importance" })),
    el("p", { class: "muted small" }, "Importance: by how much that correlation falls where a feature is shuffled among the candidates that the model has not seen. “Best tenth” and “prior” are means of the feature among the best candidates and among samples of the space. A search breeds what did well, so what goes with a metric here need not cause it."),
  );
}

function meter(share) {
  return svg("svg", { class: "meter f0", width: 120, height: 10, "aria-hidden": "true" }, svg("rect", { class: "mark", width: Math.max(1, 120 * share).toFixed(1), height: 10, rx: 2 }));
}

function amount(value) {
  return Math.abs(value) >= 100 ? count(value) : String(Number(value.toPrecision(3)));
}

function named(name, metrics) {
  const [what, kind] = name.split(".");
  const words = { count: "number of", place: "mean place of", share: "parameter share of" };
  if (kind && words[what]) return [words[what], " ", el("code", {}, kind)];
  return metrics.find((one) => one.name === name)?.label || name.replaceAll("_", " ");
}
