// An architecture as a list of its blocks from embedding to head, repeated units once.

import { el } from "./dom.js";
import { count, whole } from "./format.js";

// `differs`, if given, says of each block, in order, whether it is another one in what it is compared with.
export function blocks(architecture, differs) {
  let index = 0;
  const units = architecture.units.map((unit) => {
    const first = index;
    index += unit.times * unit.blocks.length;
    const list = el("ol", {}, unit.blocks.map((block, place) => el("li", {}, row(block, differs && everyTime(differs, first, unit, place)))));
    return el("li", { class: "unit" }, list, unit.times > 1 ? el("span", { class: "times" }, `× ${unit.times}`) : null);
  });
  const end = (text) => el("li", { class: "block" }, el("b", {}, text[0]), el("span", { class: "fields" }, text[1]));
  const tied = architecture.tied === undefined ? "" : architecture.tied ? ", tied" : ", untied";
  return el(
    "ol",
    { class: "blocks" },
    end(["embedding", `${whole(architecture.vocab_size)} × ${architecture.d_model}`]),
    units,
    end(["norm, head", `${architecture.d_model} × ${whole(architecture.vocab_size)}${tied}`]),
  );
}

function everyTime(differs, first, unit, place) {
  for (let time = 0; time < unit.times; time += 1) if (differs[first + time * unit.blocks.length + place]) return true;
  return false;
}

function row(block, differs) {
  const fields = block.fields.map(([name, value]) => `${name} ${value}`).join(", ");
  const size = block.params === undefined ? null : el("span", { class: "num", title: "parameters" }, count(block.params), block.active !== block.params ? ` (${count(block.active)} active)` : "");
  return el("div", { class: `block ${block.role || ""}${differs ? " differs" : ""}` }, el("b", {}, block.kind), el("span", { class: "fields" }, fields), size, differs ? el("span", { class: "hidden-text" }, "differs") : null);
}

// The blocks one by one, as text that two architectures are compared by.
export function unfolded(architecture) {
  return architecture.units.flatMap((unit) => Array.from({ length: unit.times }, () => unit.blocks.map((block) => JSON.stringify([block.kind, block.fields]))).flat());
}
