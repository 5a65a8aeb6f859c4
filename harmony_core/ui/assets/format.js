// Numbers as people read them, as the terminal writes them.

function three(value) {
  const text = Number(value.toPrecision(3));
  return String(text);
}

export function count(value) {
  if (value === null || value === undefined) return "–";
  for (const [limit, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (Math.abs(value) >= limit * 0.9995) return three(value / limit) + suffix;
  }
  return three(value);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  for (const [limit, suffix] of [[1, "s"], [1e-3, "ms"]]) {
    if (value >= 0.9995 * limit) return `${value / limit < 999.5 ? three(value / limit) : Math.round(value / limit)} ${suffix}`;
  }
  return `${three(value * 1e6)} µs`;
}

export function decimal(value, places = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(places);
}

export function whole(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
}

export function valueOf(metric, value) {
  if (metric.format === "seconds") return seconds(value);
  return metric.format === "decimal" ? decimal(value) : count(value);
}

export function short(id) {
  return id.slice(0, 8);
}

// How much better or worse a value is, as a share; and whether that is good.
export function change(metric, before, after) {
  if (before === null || before === undefined || after === null || after === undefined || before === 0) return null;
  const share = after / before - 1;
  const text = `${share >= 0 ? "+" : "−"}${Math.abs(100 * share).toFixed(Math.abs(share) < 0.1 ? 1 : 0)}%`;
  return { text, good: share * metric.sign < 0, same: Math.abs(share) < 5e-4 };
}
