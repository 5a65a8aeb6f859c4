// All searches.

import { card, el, put, scrolled, table } from "./dom.js";
import { count, decimal, whole } from "./format.js";
import { ask } from "./live.js";

export function searchesPage({ main, href }) {
  return async () => {
    const told = await ask("searches");
    put(main, told, () => {
      if (!told.length) return card("No search yet", null, el("p", {}, "There is none under ", el("code", {}, "results/"), ". One that begins appears here."));
      return [el("h1", {}, "Searches"), el("section", { class: "card" }, scrolled("searches", table("searches", heads(), told.map((one) => row(one, href)))))];
    });
    return told.every((one) => one.whole);
  };
}

function heads() {
  const left = (text) => ({ text, left: true });
  return [left("search"), left("state"), "generations", "candidates", "failed", "best bits/byte", "front", "hypervolume", left("data"), left("begun")];
}

function row(one, href) {
  const name = el("td", { class: "l" }, el("a", { href: href(one.name), "data-key": one.name }, one.name));
  const state = el("td", { class: "l" }, stateOf(one));
  if (one.error) return el("tr", {}, name, state, el("td", { class: "wrap bad-text", colspan: 8 }, one.error));
  const read = one.read && one.read[0] < one.read[1] ? ` (${one.read[0]} of ${one.read[1]} read)` : "";
  return el(
    "tr",
    {},
    name,
    state,
    el("td", {}, whole(one.generations)),
    el("td", {}, whole(one.candidates) + read),
    el("td", {}, whole(one.failed)),
    el("td", {}, decimal(one.best)),
    el("td", {}, count(one.front)),
    el("td", {}, decimal(one.hypervolume, 4)),
    el("td", { class: "l" }, one.data || "–"),
    el("td", { class: "l" }, one.created ? one.created.slice(0, 16).replace("T", " ") : "–"),
  );
}

const WORDS = { running: "running", finished: "finished", stopped: "nobody runs it", unreadable: "cannot be read", migrated: "migrated", looking: "looking" };

export function stateOf(one) {
  return el("span", { class: `state ${one.state}` }, WORDS[one.state] || one.state);
}
