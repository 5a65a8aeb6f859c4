// The figure of two metrics: every candidate's mark, the line of those that no other beats, the search's front, baselines.

import { axes, range, scale, titled, writer } from "./axes.js";
import { el, svg } from "./dom.js";
import { short, valueOf } from "./format.js";
import { path } from "./marks.js";
import { hide, show } from "./tip.js";
import { walk } from "./walk.js";

const NEAR = 24;

// `points` as the server has them, metrics `x` and `y`, `families`, which of them are `hidden`, what a click or Enter
// opens, and `at`, where the keyboard is.
export function tradeOff(points, x, y, families, hidden, logarithmic, width, open, at) {
  const height = Math.round(Math.max(300, Math.min(460, width * 0.56)));
  const box = { left: 52, top: 26, right: width - 12, bottom: height - 42 };
  const seen = (point) => point[5] === null || !hidden.has(point[5]);
  const others = points.others.filter(seen), members = points.members.filter(seen);
  const line = points.line.filter(seen), baselines = points.baselines;
  const all = [...others, ...members, ...line, ...baselines];
  const logX = logarithmic.has("x") && all.every((point) => point[3] > 0);
  const logY = logarithmic.has("y") && all.every((point) => point[4] > 0);
  const sx = scale(...range(all.map((point) => point[3]), logX), box.left, box.right, logX);
  const sy = scale(...range(all.map((point) => point[4]), logY), box.bottom, box.top, logY);
  const place = (point) => `translate(${sx(point[3]).toFixed(1)} ${sy(point[4]).toFixed(1)})`;
  const drawn = (list, r, kind) =>
    svg("g", { class: kind }, list.map((point) => svg("path", { d: path(families[point[5] ?? families.length - 1].shape, r), transform: place(point), class: `mark f${point[5] ?? families.length - 1} ${kind}` })));
  const steps = line.map((point, index) => `${index ? "L" : "M"}${sx(point[3]).toFixed(1)} ${sy(point[4]).toFixed(1)}`).join("");
  const ring = svg("circle", { r: 9, class: "ring", visibility: "hidden" });
  const label = `${y.label} against ${x.label}: ${points.total} candidates, ${points.line.length} of which no other beats in these two, ${points.members.length} on the search's front. The table below has them. Arrow keys go from point to point, Enter opens one.`;
  const root = svg(
    "svg",
    { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "application", "aria-roledescription": "figure", "aria-label": label },
    svg(
      "g",
      { "aria-hidden": "true" },
      axes(box, { scale: sx, title: titled(x), write: writer(x) }, { scale: sy, title: titled(y), write: writer(y) }),
      drawn(others, 3, "other"),
      svg("path", { d: steps, class: "front-line" }),
      drawn(members, 4.4, "member"),
      baselines.map((point) => baseline(point, place, box, sx)),
      ring,
    ),
  );
  const key = (point) => `point ${point.slice(0, 3)}`;
  const once = [...new Map(all.map((point) => [key(point), point])).values()];
  once.sort((one, other) => one[3] - other[3] || one[4] - other[4]);
  walk(root, once, at, { key, place, lines: (point) => told(point, x, y, families), open: (point) => open(point[2]) });
  const near = finder([...members, ...line, ...baselines, ...others], sx, sy, root, width, height);
  root.addEventListener("pointermove", (event) => {
    const found = near(event);
    ring.setAttribute("visibility", found ? "visible" : "hidden");
    root.style.cursor = found ? "pointer" : "";
    if (!found) return hide();
    ring.setAttribute("transform", place(found));
    show(told(found, x, y, families), event.clientX, event.clientY);
  });
  root.addEventListener("pointerleave", () => {
    ring.setAttribute("visibility", "hidden");
    hide();
  });
  root.addEventListener("click", (event) => {
    const found = near(event);
    if (found) {
      hide();
      open(found[2]);
    }
  });
  return root;
}

function baseline(point, place, box, sx) {
  const right = sx(point[3]) > box.right - 90;
  return svg(
    "g",
    { transform: place(point) },
    svg("path", { d: "M0 -6L6 0L0 6L-6 0Z", class: "baseline" }),
    svg("text", { x: right ? -9 : 9, y: 4, "text-anchor": right ? "end" : "start", class: "name" }, point[6].slice(0, 24)),
  );
}

function told(point, x, y, families) {
  const name = point[6] ? [`${point[6]} (${point[7] === "promotion" ? "baseline, promotion's budget" : "preset in the search"})`] : [];
  const where = point[0] === null ? short(point[2]) : `${short(point[2])}, generation ${point[0]}, candidate ${point[1]}`;
  const family = point[5] === null ? [] : [families[point[5]].name];
  return [...name, where, ...family, `${y.label}: ${valueOf(y, point[4])}`, `${x.label}: ${valueOf(x, point[3])}`];
}

// The nearest point to the pointer, those that are drawn last first.
function finder(points, sx, sy, root, width, height) {
  const places = points.map((point) => [sx(point[3]), sy(point[4])]);
  return (event) => {
    const box = root.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width, py = ((event.clientY - box.top) / box.height) * height;
    let [best, found] = [NEAR * NEAR, null];
    places.forEach(([ax, ay], index) => {
      const distance = (ax - px) ** 2 + (ay - py) ** 2;
      if (distance < best) [best, found] = [distance, points[index]];
    });
    return found;
  };
}

export function frontTable(points, x, y, families, href) {
  const row = (point) =>
    el(
      "tr",
      {},
      el("td", { class: "l" }, el("a", { href: href(point[2]), class: "id" }, short(point[2]))),
      el("td", { class: "l" }, families[point[5] ?? families.length - 1].name),
      el("td", {}, point[0] ?? "–"),
      el("td", {}, valueOf(y, point[4])),
      el("td", {}, valueOf(x, point[3])),
    );
  const heads = ["candidate", "family"].map((text) => ({ text, left: true }));
  return [heads.concat(["generation", y.heading, x.heading]), points.line.map(row)];
}
