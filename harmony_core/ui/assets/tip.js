// One tooltip for all figures, beside the pointer and within the window.

import { el } from "./dom.js";

const tip = () => document.getElementById("tip");

export function show(lines, x, y) {
  const place = tip();
  place.replaceChildren(...lines.map((line) => el("p", {}, line)));
  place.hidden = false;
  const box = place.getBoundingClientRect();
  place.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
  place.style.top = `${Math.max(4, y + 16 + box.height > innerHeight ? y - box.height - 10 : y + 16)}px`;
}

export function hide() {
  tip().hidden = true;
}
