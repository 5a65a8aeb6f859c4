// The keyboard's way through a figure: one stop, which arrow keys move from point to point.

import { svg } from "./dom.js";
import { hide, show } from "./tip.js";

// `points` in their order, and of each its `key`, its `place` as a transform, the `lines` that tell it, and what Enter
// does, which is `open`. `at` keeps the key of the last one, for a figure that is drawn anew.
export function walk(root, points, at, { key, place, lines, open }) {
  if (!points.length) return;
  let index = Math.max(0, points.findIndex((point) => key(point) === at.key));
  let stop = null;

  function seen() {
    at.key = key(points[index]);
    const box = stop.getBoundingClientRect();
    show(lines(points[index]), box.right, box.bottom);
  }

  // A new element each time: that the same one has another name is not spoken.
  function move(to) {
    const before = stop;
    index = to;
    const label = `${lines(points[index]).join(", ")}; ${index + 1} of ${points.length}`;
    stop = svg("circle", { r: 9, class: "stop", transform: place(points[index]), role: "link", tabindex: "0", "aria-label": label, "data-key": key(points[index]), onfocus: seen, onblur: hide });
    root.append(stop);
    if (!before) return;
    stop.focus();
    before.remove();
  }

  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    if (event.key === "Enter") {
      hide();
      return open(points[index]);
    }
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: points.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (points[to] && to !== index) move(to);
  });
  move(index);
}
