// One search, live.

import { card, el, put, scrolled, table } from "./dom.js";
import { count, decimal, seconds, short, whole } from "./format.js";
import { Figure } from "./figure.js";
import { lines, spark } from "./lines.js";
import { ask } from "./live.js";
import { stateOf } from "./searches.js";

export function searchPage({ main, search, href, again }) {
  const places = Object.fromEntries(["head", "problems", "tiles", "front", "generations", "under", "failures", "about"].map((name) => [name, el("div", { class: "stack" })]));
  const open = (id) => (location.hash = href(search, "candidate", id));
  let figure = null;
  let told = null;

  function laid() {
    const column = (width, ...names) => el("div", { class: `${width} stack` }, names.map((name) => places[name]));
    main.replaceChildren(places.head, places.problems, places.tiles, el("div", { class: "grid" }, column("w8", "front", "under"), column("w4", "generations", "failures", "about")));
  }

  return async () => {
    told = await ask("search", { s: search });
    if (!main.contains(places.head)) laid();
    const { state, runner, name } = told;
    put(places.head, [state, runner, name, told.waiting], () => heading(told));
    put(places.problems, [told.error, told.problems, told.more_problems, told.progress_error], () => problems(told));
    if (!told.metrics) return told.whole;
    put(places.tiles, [told.statuses, told.stages, told.pace, told.spent, told.best, told.front, told.hypervolume, told.read, told.population], () => tiles(told, href));
    put(places.generations, [told.progress, places.generations.clientWidth], () => generations(told, places.generations.clientWidth));
    put(places.under, [told.under_way, told.state], () => underWay(told, search, href));
    put(places.failures, [told.failures, told.statuses], () => failures(told, search, href));
    put(places.about, [told.commit, told.created, told.recipe], () => about(told));
    figure = figure || new Figure(places.front, search, told, open, (id) => href(search, "candidate", id), again);
    await figure.turn(told);
    return told.whole;
  };
}

function heading(told) {
  const words = {
    running: `run by ${told.runner}`,
    stopped: "what it had begun may go on; `harmony resume` goes on with it",
    migrated: "read, and not gone on with",
  };
  return el("div", { class: "bar" }, el("h1", {}, told.name), stateOf(told), el("span", { class: "muted small" }, words[told.state] || "", told.waiting && told.state === "running" ? `; ${told.waiting}` : ""));
}

function problems(told) {
  const found = [];
  if (told.error) found.push(el("p", { class: "banner bad", role: "alert" }, told.error));
  else if (told.progress_error && !(told.problems || []).length) found.push(el("p", { class: "banner warn" }, told.progress_error));
  if (told.problems?.length) {
    const lost = (one) => (one.rows === null ? "; nobody knows how many candidates it had" : one.rows ? `; up to ${one.rows} candidates are shown without what it says` : "");
    const more = told.more_problems ? el("li", {}, `and ${told.more_problems} more`) : null;
    const title = told.problems.length === 1 ? "A file is damaged or missing" : `${told.problems.length + told.more_problems} files are damaged or missing`;
    found.push(el("div", { class: "banner warn" }, el("strong", {}, title), el("ul", {}, told.problems.map((one) => el("li", {}, one.text, lost(one))), more)));
  }
  return found;
}

function tile(name, value, more, extra) {
  return el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : null, extra || null));
}

function tiles(told, href) {
  const done = told.stages ? told.stages.reduce((sum, one) => sum + one.done, 0) : 0;
  const pace = told.pace || {};
  const all = (pace.done || 0) + (pace.left || 0);
  const over = told.progress.filter((one) => one.over).length;
  const failed = Object.entries(told.statuses).filter(([status]) => status !== "ok" && status !== "pending");
  const failedCount = failed.reduce((sum, [, number]) => sum + number, 0);
  const reading = told.read[0] < told.read[1] ? `reading generation ${told.read[0]} of ${told.read[1]}` : null;
  const now = told.stages?.filter((one) => !one.finished) || [];
  const nowText = now.map((one) => (one.generation === null ? "promotion" : `generation ${one.generation}`)).join(", ");
  return el(
    "dl",
    { class: "tiles" },
    tile("candidates", whole(told.candidates), reading || `${count(told.population)} a generation`),
    tile("generations", `${told.generations_over ?? over} of ${told.generations}`, nowText || null),
    tile("trainings", whole(done), all ? `${Math.round((100 * pace.done) / all)}% of the work` : null, all ? el("progress", { max: all, value: pace.done, "aria-label": "share of the work that is done" }) : null),
    tile("best bits/byte", decimal(told.best, 4)),
    tile("front", whole(told.front), "in all objectives"),
    tile("hypervolume", decimal(told.hypervolume, 4)),
    tile("failed", whole(failedCount), failed.map(([status, number]) => `${number} ${status.replaceAll("_", " ")}`).join(", ") || "none"),
    tile("throughput", pace.per_hour ? `${count(pace.per_hour)}/h` : "–", pace.mean_seconds ? `${seconds(pace.mean_seconds)} a training` : "trainings an hour"),
    tile("under way", pace.running === null || pace.running === undefined ? "–" : whole(pace.running), told.state === "running" ? null : "nobody runs it"),
    tile("budget", told.spent ? told.spent.split(" of ")[0] : "–", told.spent ? `of ${told.spent.split(" of ")[1]}` : "no limit"),
    tile("time left", told.state === "running" ? pace.eta || "–" : "–", pace.eta && told.state === "running" ? "at this pace" : null),
  );
}

function generations(told, width) {
  const w = Math.max(280, width - 30);
  const best = told.progress.filter((one) => one.best !== null).map((one) => [one.number, one.best]);
  const volume = told.progress.filter((one) => one.hypervolume !== null).map((one) => [one.number, one.hypervolume]);
  const x = { title: "generation", write: (value) => (Number.isInteger(value) && value >= 0 ? String(value) : "") };
  const exact = (value) => decimal(value, 4);
  const short = (value) => String(Number(value.toPrecision(4)));
  const figure = (points, title, color) => (points.length ? lines([{ name: title, points, color }], x, { title, write: short, exact }, w, 190, `${title} of ${points.length} generations, the last one ${exact(points.at(-1)[1])}`) : el("p", { class: "muted" }, `${title}: not known yet`));
  return card("Generations", null, figure(volume, "hypervolume so far", 0), figure(best, "best bits per byte of each", 3));
}

function underWay(told, search, href) {
  const rows = told.under_way.map((one) =>
    el(
      "tr",
      {},
      el("td", { class: "l" }, el("a", { href: href(search, "candidate", one.id), class: "id", "data-key": one.id + one.stage }, short(one.id))),
      el("td", {}, one.generation ?? "promotion"),
      el("td", { class: "l" }, one.stage, one.attempt > 1 ? `, attempt ${one.attempt}` : ""),
      el("td", {}, one.steps_done === null ? "–" : `${whole(one.steps_done)} / ${whole(one.steps)}`, one.steps_done === null ? null : el("progress", { max: one.steps, value: one.steps_done, "aria-label": `steps of ${short(one.id)}` })),
      el("td", {}, one.curve.length ? decimal(one.curve.at(-1)[2]) : "–"),
      el("td", {}, one.tokens_per_second ? count(one.tokens_per_second) : "–"),
      el("td", { class: "l" }, one.curve.length > 1 ? spark(one.curve.map((point) => [point[0], point[2]]), 0) : ""),
    ),
  );
  const left = (text) => ({ text, left: true });
  const heads = [left("candidate"), "gen", left("stage"), "step", "loss [nats]", "tokens/s", left("loss so far")];
  const note = told.state === "running" ? null : el("span", { class: "muted" }, "as the journals left it");
  const content = rows.length ? scrolled("candidates under way", table("candidates under way", heads, rows)) : el("p", { class: "muted" }, "Nothing is being trained or measured.");
  return card("Under way", note, content);
}

function failures(told, search, href) {
  const counts = Object.entries(told.statuses).filter(([status]) => status !== "ok" && status !== "pending");
  const chips = counts.map(([status, number]) => el("li", {}, el("a", { href: `${href(search, "candidates")}?status=${status}&sort=generation&order=desc` }, `${whole(number)} ${status.replaceAll("_", " ")}`)));
  const latest = (told.failures || []).slice(0, 12).map((one) =>
    el("tr", {}, el("td", { class: "l" }, el("a", { href: href(search, "candidate", one.id), class: "id" }, short(one.id))), el("td", {}, one.generation ?? "promotion"), el("td", { class: "l" }, one.stage ? `${one.stage}: ` : "", one.status.replaceAll("_", " ")), el("td", { class: "wrap small" }, one.error)),
  );
  const left = (text) => ({ text, left: true });
  const shown = latest.length ? [el("h3", {}, "the last ones"), scrolled("failures", table("failures", [left("candidate"), "gen", left("how"), left("why")], latest))] : null;
  return card("Failures", null, chips.length ? el("ul", { class: "chips" }, chips) : el("p", { class: "muted" }, "No candidate has failed."), shown);
}

function about(told) {
  const pairs = [
    ["folder", told.path], ["data", told.data], ["space", told.space], ["algorithm", told.algorithm], ["objectives", told.objectives.map((one) => one.name + (one.target === null ? "" : ` (target ${one.target})`)).join(", ")],
    ["recipe", `${count(told.recipe.tokens)} tokens, batch ${told.recipe.batch_size} of ${told.recipe.sequence_length}, ${told.precision}`],
    ["latency", `${told.latency.objective}, batch ${told.latency.batch_size}, context ${told.latency.context}, ${told.latency.source}`],
    ["machine", told.machine], ["seed", told.seed], ["commit", told.commit], ["begun", told.created?.slice(0, 19).replace("T", " ")],
  ];
  return card("What it is", null, el("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}
