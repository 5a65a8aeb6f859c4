// Elements made of data. Text goes in as text nodes and attributes by name: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected" || name === "disabled" || name === "hidden") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// Puts new content in a place, if its data is new, and leaves the keyboard where it was: at the element of the same key.
export function put(place, data, make) {
  const told = JSON.stringify(data);
  if (place.dataset.told === told) return;
  const active = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const open = new Set([...place.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  const made = make();
  place.replaceChildren(...[made].flat(Infinity).filter(Boolean));
  place.dataset.told = told;
  for (const one of place.querySelectorAll("details[data-key]")) if (open.has(one.dataset.key)) one.open = true;
  if (active) [...place.querySelectorAll("[data-key]")].find((one) => one.dataset.key === active)?.focus();
}

export function card(title, more, ...content) {
  return el("section", { class: "card" }, el("header", {}, el("h2", {}, title), more), ...content);
}

// A table that may be wider than its card: a region that the keyboard can scroll.
export function scrolled(name, table) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
}

export function table(name, heads, rows, attributes) {
  return el(
    "table",
    attributes || {},
    el("caption", { class: "hidden-text" }, name),
    el("thead", {}, el("tr", {}, heads.map((head) => (head instanceof Node ? head : el("th", { scope: "col", class: head.left ? "l" : null }, head.text ?? head))))),
    el("tbody", {}, rows),
  );
}
