// The marks of families, as the report has them: shape and colour say the same.

import { svg } from "./dom.js";

const PATHS = {
  circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: (r) => `M${-0.9 * r} ${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}Z`,
  "triangle-up": (r) => `M0 ${-1.15 * r}L${1.1 * r} ${0.85 * r}H${-1.1 * r}Z`,
  "triangle-down": (r) => `M0 ${1.15 * r}L${1.1 * r} ${-0.85 * r}H${-1.1 * r}Z`,
  "triangle-right": (r) => `M${1.15 * r} 0L${-0.85 * r} ${1.1 * r}V${-1.1 * r}Z`,
  diamond: (r) => `M0 ${-1.3 * r}L${1.1 * r} 0L0 ${1.3 * r}L${-1.1 * r} 0Z`,
  cross: (r) => {
    const a = 0.42 * r, b = 1.15 * r;
    return `M${-a} ${-b}H${a}V${-a}H${b}V${a}H${a}V${b}H${-a}V${a}H${-b}V${-a}H${-a}Z`;
  },
  wedge: (r) => `M0 ${-1.2 * r}L${0.6 * r} ${r}H${-0.6 * r}Z`,
};

export function path(shape, r) {
  return (PATHS[shape] || PATHS.circle)(r);
}

export function mark(families, number) {
  const family = families[number] || families[families.length - 1];
  return svg("svg", { width: 12, height: 12, viewBox: "-6 -6 12 12", class: `f${number}`, "aria-hidden": "true" }, svg("path", { d: path(family.shape, 4.4), class: "mark" }));
}
