// Numbers as people read them. Unknown is a dash, never a zero.

const DASH = "–";

export function seconds(value) {
  if (value == null) return DASH;
  if (value === 0) return "0 s";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.1 ? 1 : 0)} ms`;
  return value < 100 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

export function percent(value) {
  return value == null ? DASH : `${(value * 100).toFixed(value < 0.0995 ? 1 : 0)} %`;
}

export function count(value) {
  return value == null ? DASH : Math.round(value).toLocaleString("en");
}

export function plain(value) {
  return value == null ? DASH : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

export function clock(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleTimeString([], { hour12: false });
}

export function words(name) {
  return name == null ? DASH : name.replaceAll("_", " ");
}

// Green below 15 %, amber below 30 %, red above: the bounds of the alerts.
export function errorClass(ratio) {
  if (ratio == null) return "";
  if (ratio < 0.15) return "good";
  return ratio < 0.3 ? "warn" : "bad";
}
