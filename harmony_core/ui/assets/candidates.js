// The table of all candidates: filtered, sorted and paged by the server.

import { el, put, scrolled } from "./dom.js";
import { short, valueOf, whole } from "./format.js";
import { ask } from "./live.js";
import { mark } from "./marks.js";

const SIZE = 50;
const PLAIN = [["generation", "gen"], ["family", "family"], ["origin", "origin"], ["status", "status"], ["d_model", "d_model"], ["num_blocks", "blocks"]];
const SHOWN = new Set(["generation", "family", "status", "num_blocks", "pattern"]);

export function candidatesPage({ main, search, query, href, again }) {
  let told = null;
  let page = null;
  const chosen = new Set();
  const columns = new Set(stored(search) || []);
  const places = { filters: el("div", { class: "card" }), rows: el("div", { class: "card" }) };

  // The address holds the question, so that it can be kept, and gone back from.
  function change(changes) {
    for (const [name, value] of Object.entries(changes)) {
      query.delete(name);
      for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== "") query.append(name, one);
    }
    if (!("page" in changes)) query.delete("page");
    history.replaceState(null, "", `${href(search, "candidates")}${query.size ? `?${query}` : ""}`);
    again();
  }

  function toggled(name, value) {
    const values = query.getAll(name);
    change({ [name]: values.includes(value) ? values.filter((one) => one !== value) : [...values, value] });
  }

  // What was asked last is asked again where there are other candidates by now.
  async function turn() {
    const question = query.toString();
    const asked = Object.fromEntries([...new Set(query.keys())].map((name) => [name, query.getAll(name)]));
    const rowsOf = () => ask("candidates", { s: search, size: SIZE, ...asked });
    let found;
    [told, found] = await Promise.all([ask("search", { s: search }), page?.question === question ? null : rowsOf()]);
    if (question !== query.toString()) return false;
    if (found || page?.version !== told.version) page = { ...(found || (await rowsOf())), question, version: told.version };
    if (!told.metrics) {
      main.replaceChildren(el("p", { class: "banner bad" }, told.error || "This search has no candidates yet."));
      return told.whole;
    }
    if (!columns.size) for (const name of [...SHOWN, ...told.metrics.map((one) => one.name)]) columns.add(name);
    if (!main.contains(places.rows)) main.replaceChildren(el("h1", {}, "Candidates"), places.filters, places.rows);
    put(places.filters, [told.statuses, told.family_counts, asked, [...columns]], () => filters());
    put(places.rows, [page, [...columns], [...chosen], asked], () => rows());
    return told.whole;
  }

  function filters() {
    const set = (title, name, values) =>
      el("fieldset", {}, el("legend", {}, title), el("ul", { class: "chips" }, values.map(([value, text, icon]) => el("li", {}, el("button", { class: `chip plain`, "aria-pressed": String(query.getAll(name).includes(value)), "data-key": `${name} ${value}`, onclick: () => toggled(name, value) }, icon || null, text)))));
    const statuses = Object.entries(told.statuses).map(([status, number]) => [status, `${status.replaceAll("_", " ")} ${whole(number)}`]);
    const families = told.families.map((one, number) => [one.name, one.name, el("span", { class: `f${number}` }, mark(told.families, number))]).filter(([name]) => told.family_counts[name]);
    const kinds = told.kinds.filter((one) => one.role === "mixer" || one.role === "channel").map((one) => [one.name, one.name]);
    const bound = (one, side) => el("input", { type: "number", step: "any", "aria-label": `${side} ${one.label}`, placeholder: side === "min" ? "least" : "most", value: query.get(`${side}.${one.name}`) || "", "data-key": `${side}.${one.name}`, onchange: (event) => change({ [`${side}.${one.name}`]: event.target.value }) });
    const bounds = [{ name: "generation", label: "generation" }, ...told.metrics].map((one) => el("label", {}, one.unit ? `${one.label.replace(/ \[.*/, "")} [${one.unit}]` : one.label, bound(one, "min"), bound(one, "max")));
    const boxes = [...PLAIN, ["pattern", "pattern"], ...told.metrics.map((one) => [one.name, one.label])].map(([name, text]) =>
      el("label", {}, el("input", { type: "checkbox", checked: columns.has(name), "data-key": `column ${name}`, onchange: (event) => show(name, event.target.checked) }), text),
    );
    return el(
      "div",
      { class: "filters" },
      set("Status", "status", statuses),
      set("Family", "family", families),
      el("details", { "data-key": "more" }, el("summary", {}, "Blocks, bounds, origin"), el("div", { class: "filters" }, set("Has a block of", "has", kinds), set("Has none of", "hasnot", kinds), set("Origin", "origin", told.origins.map((one) => [one, one])), el("fieldset", {}, el("legend", {}, "Between"), el("div", { class: "bar" }, bounds)))),
      el("details", { "data-key": "columns" }, el("summary", {}, "Columns"), el("div", { class: "bar" }, boxes)),
      el("div", { class: "bar" }, el("label", {}, "id begins", el("input", { type: "text", maxlength: 16, pattern: "[0-9a-fA-F]*", value: query.get("id") || "", "data-key": "id", onchange: (event) => change({ id: event.target.value.trim() }) })), el("button", { disabled: query.size === 0, onclick: () => change(Object.fromEntries([...query.keys()].map((name) => [name, null]))) }, "Clear all")),
    );
  }

  function show(name, on) {
    if (on) columns.add(name);
    else columns.delete(name);
    keep(search, [...columns]);
    again();
  }

  function rows() {
    const metrics = told.metrics.filter((one) => columns.has(one.name));
    const plain = PLAIN.filter(([name]) => columns.has(name));
    const sort = query.get("sort") || "val_bits_per_byte", descending = query.get("order") === "desc";
    const head = (name, text, left) => el("th", { scope: "col", class: left ? "l" : null, "aria-sort": sort === name ? (descending ? "descending" : "ascending") : null }, el("button", { "data-key": `sort ${name}`, onclick: () => change({ sort: name, order: sort === name && !descending ? "desc" : "asc" }) }, text, sort === name ? (descending ? " ▾" : " ▴") : ""));
    const first = Number(query.get("page") || 0), last = Math.max(0, Math.ceil(page.total / SIZE) - 1);
    const body = page.rows.map((row) =>
      el(
        "tr",
        { class: row.on_front ? "on-front" : null },
        el("td", { class: "l" }, el("input", { type: "checkbox", "aria-label": `compare ${short(row.architecture_id)}`, checked: chosen.has(row.architecture_id), "data-key": `choose ${row.architecture_id}`, onchange: (event) => choose(row.architecture_id, event.target.checked) }), " ", el("a", { href: href(search, "candidate", row.architecture_id), class: "id" }, short(row.architecture_id)), row.name ? ` ${row.name}` : "", row.on_front ? el("span", { class: "hidden-text" }, " on the front") : null),
        plain.map(([name]) => cell(name, row)),
        metrics.map((one) => el("td", {}, valueOf(one, row[one.name]))),
        columns.has("pattern") ? el("td", { class: "wrap small" }, row.pattern) : null,
      ),
    );
    const pager = el(
      "div",
      { class: "bar" },
      el("span", { role: "status" }, `${whole(page.total)} of ${whole(page.all)} candidates`),
      el("button", { disabled: first === 0, "data-key": "before", onclick: () => change({ page: String(first - 1) }) }, "Previous"),
      el("span", { class: "muted" }, `page ${whole(first + 1)} of ${whole(last + 1)}`),
      el("button", { disabled: first >= last, "data-key": "after", onclick: () => change({ page: String(first + 1) }) }, "Next"),
      el("button", { disabled: chosen.size !== 2, "data-key": "compare", onclick: () => (location.hash = href(search, "compare", ...chosen)) }, "Compare the two that are ticked"),
      el("span", { class: "muted small" }, "a red edge: on the search's front"),
    );
    const shown = el(
      "table",
      {},
      el("caption", { class: "hidden-text" }, "candidates"),
      el("thead", {}, el("tr", {}, head("architecture_id", "candidate", true), plain.map(([name, text]) => head(name, text, ["family", "origin", "status"].includes(name))), metrics.map((one) => head(one.name, one.heading)), columns.has("pattern") ? el("th", { scope: "col", class: "l" }, "pattern") : null)),
      el("tbody", {}, body),
    );
    return [pager, page.rows.length ? scrolled("candidates", shown) : el("p", { class: "muted" }, "No candidate is like that.")];
  }

  function cell(name, row) {
    const value = row[name];
    if (name === "family") {
      const number = told.families.findIndex((one) => one.name === value);
      return el("td", { class: "l" }, number < 0 ? "–" : [el("span", { class: `f${number}` }, mark(told.families, number)), " ", value]);
    }
    const text = name === "status" ? (value || "pending").replaceAll("_", " ") : value ?? "–";
    return el("td", { class: ["origin", "status"].includes(name) ? `l${name === "status" && value && value !== "ok" ? " bad-text" : ""}` : null }, text);
  }

  function choose(id, on) {
    if (on) chosen.add(id);
    else chosen.delete(id);
    while (chosen.size > 2) chosen.delete(chosen.values().next().value);
    again();
  }

  return turn;
}

// Which columns somebody wants is kept in this browser, by search.
function stored(search) {
  try {
    const found = JSON.parse(localStorage.getItem(`columns of ${search}`));
    return Array.isArray(found) ? found : null;
  } catch {
    return null;
  }
}

function keep(search, names) {
  localStorage.setItem(`columns of ${search}`, JSON.stringify(names));
}
