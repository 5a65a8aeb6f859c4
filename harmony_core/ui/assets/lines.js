// Figures of lines: curves of trainings, what generations came to, and sparklines.

import { axes, range, scale } from "./axes.js";
import { svg } from "./dom.js";
import { hide, show } from "./tip.js";

// `curves`: name, points [x, y], and the number of their colour; the axes say what they are and how values are written.
export function lines(curves, x, y, width, height, name) {
  const box = { left: 48, top: 24, right: width - 12, bottom: height - 38 };
  const points = curves.flatMap((curve) => curve.points);
  const sx = scale(...range(points.map((point) => point[0]), false, 0.01), box.left, box.right, false);
  const sy = scale(...range(points.map((point) => point[1]), false), box.bottom, box.top, false);
  const root = svg(
    "svg",
    { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name },
    axes(box, { scale: sx, title: x.title, write: x.write }, { scale: sy, title: y.title, write: y.write }),
    curves.map((curve) => svg("path", { class: `curve f${curve.color}`, d: drawn(curve.points, sx, sy) })),
    curves.filter((curve) => curve.points.length < 40).map((curve) => curve.points.map((point) => svg("circle", { class: `mark f${curve.color}`, cx: sx(point[0]).toFixed(1), cy: sy(point[1]).toFixed(1), r: 2.4 }))),
  );
  const places = curves.flatMap((curve) => curve.points.map((point) => [sx(point[0]), sy(point[1]), point, curve]));
  root.addEventListener("pointermove", (event) => {
    const area = root.getBoundingClientRect();
    const px = ((event.clientX - area.left) / area.width) * width, py = ((event.clientY - area.top) / area.height) * height;
    let [best, found] = [900, null];
    for (const one of places) {
      const distance = (one[0] - px) ** 2 + (one[1] - py) ** 2;
      if (distance < best) [best, found] = [distance, one];
    }
    if (!found) return hide();
    show([found[3].name, `${x.title}: ${x.write(found[2][0])}`, `${y.title}: ${(y.exact || y.write)(found[2][1])}`], event.clientX, event.clientY);
  });
  root.addEventListener("pointerleave", hide);
  return root;
}

function drawn(points, sx, sy) {
  return points.map((point, index) => `${index ? "L" : "M"}${sx(point[0]).toFixed(1)} ${sy(point[1]).toFixed(1)}`).join("");
}

export function spark(points, color) {
  const sx = scale(...range(points.map((point) => point[0]), false, 0), 1, 99, false);
  const sy = scale(...range(points.map((point) => point[1]), false, 0.05), 19, 1, false);
  return svg("svg", { class: `plot spark f${color}`, viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "curve", "vector-effect": "non-scaling-stroke", d: drawn(points, sx, sy) }));
}
