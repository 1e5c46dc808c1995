// Numbers as people read them. Unknown is a dash, never a zero.

export const DASH = "–";

export function seconds(value) {
  if (value == null) return DASH;
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (size < 0.9995) return `${(value * 1e3).toFixed(size < 0.0995 ? 1 : 0)} ms`;
  if (size < 99.95) return `${value.toFixed(size < 9.995 ? 2 : 1)} s`;
  return size < 5400 ? `${value.toFixed(0)} s` : `${(value / 3600).toFixed(1)} h`;
}

export function percent(value) {
  if (value == null) return DASH;
  const size = Math.abs(value * 100);
  return `${(value * 100).toFixed(size > 0 && size < 9.95 ? 1 : 0)} %`;
}

export function count(value) {
  return value == null ? DASH : Math.round(value).toLocaleString("en");
}

// Large counts in three digits or so: 1,234 or 12.3k or 4.5M.
export function short(value) {
  if (value == null) return DASH;
  if (value < 10000) return count(value);
  return value < 999500 ? `${(value / 1e3).toPrecision(3)}k` : `${(value / 1e6).toPrecision(3)}M`;
}

export function rate(value) {
  return value == null ? DASH : value < 9.95 ? value.toFixed(1) : count(value);
}

export function plain(value) {
  return value == null ? DASH : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

export function clock(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleTimeString([], { hourCycle: "h23" });
}

export function words(name) {
  return name == null ? DASH : name.replaceAll("_", " ");
}

export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

// Good below 15 %, to be watched below 30 %, bad above.
export function errorClass(ratio) {
  if (ratio == null) return "";
  if (ratio < 0.15) return "good";
  return ratio < 0.3 ? "warn" : "bad";
}

export function median(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
