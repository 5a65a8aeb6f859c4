// Which page is shown: the part of the address behind #, as /SEARCH, /SEARCH/candidates, /SEARCH/candidate/ID, ...

import { candidatePage } from "./candidate.js";
import { candidatesPage } from "./candidates.js";
import { comparePage } from "./compare.js";
import { el } from "./dom.js";
import { importancePage } from "./importance.js";
import { Refused, repeat } from "./live.js";
import { hide } from "./tip.js";
import { searchPage } from "./search.js";
import { searchesPage } from "./searches.js";

const PAGES = { "": searchPage, candidates: candidatesPage, candidate: candidatePage, compare: comparePage, metrics: importancePage };
const TABS = [["", "Overview"], ["candidates", "Candidates"], ["metrics", "What goes with what"]];

let loop = null;

function href(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

function route() {
  loop?.end();
  hide();
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [search, page = "", ...rest] = path.split("/").map(decoded);
  const main = document.getElementById("main");
  main.replaceChildren(el("p", { class: "muted" }, "Reading…"));
  delete main.dataset.told;
  delete main.dataset.shown;
  main.ariaBusy = "true";
  const make = search ? PAGES[page] : searchesPage;
  trail(search, page, rest);
  document.title = [rest[0]?.slice(0, 8), search, "HARMONY"].filter(Boolean).join(" · ");
  if (!make) {
    main.replaceChildren(el("p", {}, "There is no such page. ", el("a", { href: "#/" }, "All searches")));
    main.ariaBusy = "false";
    return;
  }
  const again = () => {
    main.ariaBusy = "true";
    loop.again();
  };
  // A page that is left may still get its answer, when the address is another's already.
  const here = location.hash.split("?")[0];
  loop = repeat(make({ main, search, rest, query: new URLSearchParams(query || ""), href, again }), (error, whole) => state(error, here, whole));
}

function trail(search, page, rest) {
  const place = document.getElementById("trail");
  if (!search) return place.replaceChildren();
  const tabs = TABS.map(([name, text]) => el("a", { href: href(search, ...(name ? [name] : [])), "aria-current": name === page ? "page" : null }, text));
  const here = page === "candidate" ? el("span", { class: "id" }, rest[0]?.slice(0, 8)) : page === "compare" ? el("span", {}, "Comparison") : null;
  place.replaceChildren(el("span", { class: "name" }, search), ...tabs, ...(here ? [here] : []));
}

// A page is busy until all of it has been read by the server and drawn.
function state(error, here, whole) {
  const lost = document.getElementById("lost");
  lost.hidden = error === null;
  const told = document.getElementById("live");
  if (error === null) {
    const main = document.getElementById("main");
    main.dataset.shown = here;
    main.ariaBusy = String(!whole);
    told.textContent = `read ${new Date().toLocaleTimeString([], { hour12: false })}`;
    return;
  }
  const isAnswer = error instanceof Refused || !(error instanceof TypeError);
  lost.textContent = isAnswer ? error.message : "No answer: does `harmony ui` still run, and the tunnel to it? Asking again.";
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener("hashchange", () => {
  route();
  scrollTo(0, 0);
  document.getElementById("main").focus({ preventScroll: true });
});
route();
