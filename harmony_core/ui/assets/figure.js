// The figure of a search with its choices: which metrics, which axes are logarithmic, which families.

import { el, put, scrolled, table } from "./dom.js";
import { whole } from "./format.js";
import { ask } from "./live.js";
import { mark } from "./marks.js";
import { frontTable, tradeOff } from "./trade_off.js";

export class Figure {
  constructor(place, search, told, open, href, again) {
    Object.assign(this, { place, search, open, href, again, hidden: new Set(), logarithmic: new Set(["x"]), points: null, asked: "", at: {}, selects: {} });
    const names = told.objectives.map((one) => one.name);
    this.y = names[0];
    this.x = names[1] || told.metrics.find((one) => one.name !== names[0]).name;
    this.plot = el("div", {});
    this.rest = el("div", {});
    this.legend = el("div", {});
    this.note = el("span", { class: "muted" });
    new ResizeObserver(() => this.draw()).observe(place);
  }

  async turn(told) {
    this.told = told;
    if (!this.place.contains(this.plot)) this.lay();
    const wanted = [told.version, this.x, this.y].join();
    if (wanted !== this.asked) {
      this.points = await ask("front", { s: this.search, x: this.x, y: this.y });
      this.asked = wanted;
    }
    this.draw();
  }

  lay() {
    const choice = (axis, text) =>
      el("label", {}, text, (this.selects[axis] = el("select", { onchange: (event) => this.choose(axis, event.target.value) }, this.told.metrics.map((one) => el("option", { value: one.name, selected: one.name === this[axis] }, one.label)))));
    const log = (axis) =>
      el("label", {}, el("input", { type: "checkbox", checked: this.logarithmic.has(axis), onchange: (event) => this.toggle(this.logarithmic, axis, event.target.checked) }), `${axis} logarithmic`);
    this.place.replaceChildren(
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Trade-off"), this.note), el("div", { class: "bar" }, choice("y", "y"), choice("x", "x"), log("x"), log("y")), this.legend, this.plot, this.rest),
    );
  }

  // What is on the other axis already changes places with what was on this one.
  choose(axis, name) {
    const other = axis === "x" ? "y" : "x";
    if (this[other] === name) this[other] = this.selects[other].value = this[axis];
    this[axis] = name;
    this.again();
  }

  toggle(set, value, on) {
    if (on) set.add(value);
    else set.delete(value);
    this.draw();
  }

  draw() {
    if (!this.points || !this.place.contains(this.plot)) return;
    const { points, told, hidden } = this;
    const metric = (name) => told.metrics.find((one) => one.name === name);
    const [x, y] = [metric(points.x), metric(points.y)];
    const width = Math.max(300, this.plot.clientWidth);
    const shown = points.others.length + points.line.length;
    this.note.textContent = points.total > shown ? `${whole(points.total)} candidates, ${whole(shown)} of them drawn` : `${whole(points.total)} candidates`;
    put(this.legend, [told.family_counts, [...hidden]], () => this.families());
    put(this.plot, [points, [...hidden], [...this.logarithmic], width], () => (points.total || points.baselines.length ? tradeOff(points, x, y, told.families, hidden, this.logarithmic, width, this.open, this.at) : el("p", { class: "muted" }, "No candidate has both of these yet.")));
    const [heads, rows] = frontTable(points, x, y, told.families, this.href);
    put(this.rest, points.line, () => points.line.length > 0 && el("details", { "data-key": "front" }, el("summary", {}, `The ${points.line.length} that no other beats in these two, as a table`), scrolled("the front", table("candidates that no other beats in these two metrics", heads, rows))));
  }

  families() {
    const chips = this.told.families.map((one, number) => {
      const many = this.told.family_counts[one.name];
      if (!many) return null;
      const pressed = !this.hidden.has(number);
      return el("li", {}, el("button", { class: `chip f${number}`, "aria-pressed": String(pressed), "data-key": `family ${number}`, onclick: () => this.toggle(this.hidden, number, pressed) }, mark(this.told.families, number), el("span", { class: "label" }, one.name, " ", el("span", { class: "muted" }, whole(many)))));
    });
    const front = el("li", { class: "chip muted" }, "large: on the front of all objectives; line: of these two; open diamonds: baselines");
    return el("ul", { class: "chips" }, chips, front);
  }
}
