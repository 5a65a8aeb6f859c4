// Scales and axes of small SVG figures.

import { svg } from "./dom.js";
import { valueOf } from "./format.js";

export function scale(low, high, from, to, log) {
  if (!(high > low)) {
    const room = log ? 1.1 : Math.abs(low) * 0.05 || 1;
    [low, high] = log ? [low / room, high * room] : [low - room, high + room];
  }
  const f = log ? Math.log : (v) => v;
  const [a, b] = [f(low), f(high)];
  const place = (value) => from + ((f(value) - a) / (b - a)) * (to - from);
  place.ticks = log ? logTicks(low, high) : ticks(low, high, Math.max(3, Math.round(Math.abs(to - from) / 85)));
  return place;
}

// The range of some values with a margin, so that no mark lies on the frame.
export function range(values, log, margin = 0.05) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(high >= low)) return log ? [1, 10] : [0, 1];
  if (log) {
    const room = Math.max((high / low) ** margin, 1.02);
    return [low / room, high * room];
  }
  const room = (high - low) * margin;
  return [low - room, high + room];
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let index = Math.ceil(low / step); index * step <= high; index += 1) found.push(Number((index * step).toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const found = [];
  const decades = Math.log10(high / low);
  const steps = decades > 3 ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of steps) {
      const value = Number((step * 10 ** power).toPrecision(12));
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found.length < 2 ? ticks(low, high, 4) : found;
}

// Both axes: `box` is left, top, right and bottom of the plane; each axis has a scale, a title and how it writes a tick.
export function axes(box, x, y) {
  const parts = [];
  let last = -Infinity;
  for (const tick of x.scale.ticks) {
    const at = x.scale(tick);
    parts.push(svg("line", { x1: at, x2: at, y1: box.top, y2: box.bottom, class: "grid-line" }));
    const text = x.write(tick);
    if (at - last < 9 + 6.2 * text.length) continue;
    last = at;
    parts.push(svg("text", { x: at, y: box.bottom + 15, "text-anchor": "middle" }, text));
  }
  for (const tick of y.scale.ticks) {
    const at = y.scale(tick);
    parts.push(svg("line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "grid-line" }));
    parts.push(svg("text", { x: box.left - 6, y: at + 3.5, "text-anchor": "end" }, y.write(tick)));
  }
  parts.push(svg("text", { x: box.right, y: box.bottom + 31, "text-anchor": "end", class: "title" }, x.title));
  parts.push(svg("text", { x: box.left, y: box.top - 9, class: "title" }, y.title));
  return parts;
}

export function writer(metric) {
  return (value) => (metric.format === "decimal" ? String(Number(value.toPrecision(4))) : valueOf(metric, value));
}

export function titled(metric) {
  const unit = metric.format === "seconds" ? "" : metric.unit && !metric.label.includes(metric.unit) ? ` [${metric.unit}]` : "";
  return `${metric.label}${unit}${metric.sign < 0 ? " (more is better)" : ""}`;
}
