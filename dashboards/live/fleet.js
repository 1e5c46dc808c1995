// The fleet's table: sorted, filtered, and scrolled within itself where it is large.

import { $, cells, keep, make, name, row, say } from "./dom.js";
import { DASH, count, errorClass, many, percent, seconds, short } from "./format.js";

const OLD_SCRAPE_S = 5;
const MANY = 8; // a fleet that is looked through, not at

const STATES = {
  down: ["■", "bad", 0],
  suspect: ["▲", "warn", 1],
  stale: ["▲", "warn", 1],
  draining: ["◐", "warn", 2],
  standby: ["○", "good", 3],
  up: ["●", "good", 4],
};

// Label, the value to sort by, and what to show. "show" tells whether a column says anything.
const COLUMNS = [
  { label: "Endpoint", of: (e) => e.endpoint, cell: (e) => ({ node: name(e.endpoint, "mono") }) },
  { label: "Model", of: (e) => e.model ?? "", cell: (e) => ({ node: name(e.model ?? DASH) }), show: (all) => new Set(all.map((e) => e.model).filter(Boolean)).size > 1 },
  { label: "Hardware", of: (e) => e.hardware ?? "", cell: (e) => ({ node: name(e.hardware ?? DASH) }), show: (all) => all.some((e) => e.hardware) },
  { label: "State", of: (e) => `${STATES[kind(e)][2]}`, cell: state },
  { label: "Running", number: true, of: (e) => e.running_requests, cell: (e) => ({ text: count(e.running_requests) }) },
  { label: "Waiting", number: true, of: (e) => e.waiting_requests, cell: (e) => ({ text: count(e.waiting_requests), className: e.waiting_requests > 0 ? "warn" : "" }) },
  { label: "KV cache", number: true, of: (e) => e.kv_cache_usage, cell: (e) => ({ text: percent(e.kv_cache_usage), bar: e.kv_cache_usage, className: `bar ${e.kv_cache_usage > 0.9 ? "warn" : ""}` }) },
  { label: "Sent", title: "Requests sent by this router and not ended", number: true, of: (e) => e.inflight_requests, cell: (e) => ({ text: count(e.inflight_requests) }) },
  { label: "Tokens", title: "Of those: prompts still to be computed, and contexts that decode", number: true, of: (e) => e.inflight_tokens, cell: (e) => ({ text: short(e.inflight_tokens) }) },
  { label: "TTFT", card: "Typical TTFT", title: "Predicted for a typical request sent there now", number: true, of: (e) => e.typical_ttft_s, cell: (e, most) => forecast(e, "ttft", most) },
  { label: "TPOT", card: "Typical TPOT", title: "Predicted for a typical request sent there now", number: true, of: (e) => e.typical_tpot_s, cell: (e, most) => forecast(e, "tpot", most) },
  { label: "TTFT error", title: "Median error of the predictions there lately", number: true, of: (e) => e.ttft_error_ratio, cell: (e) => ({ text: percent(e.ttft_error_ratio), className: errorClass(e.ttft_error_ratio) }) },
  { label: "TPOT error", title: "Median error of the predictions there lately", number: true, of: (e) => e.tpot_error_ratio, cell: (e) => ({ text: percent(e.tpot_error_ratio), className: errorClass(e.tpot_error_ratio) }) },
  { label: "Scraped", title: "Age of what it reported", number: true, of: (e) => e.scrape_age_s, cell: (e) => ({ text: e.scrape_age_s == null ? "never" : seconds(e.scrape_age_s), className: e.scrape_age_s == null || e.scrape_age_s > OLD_SCRAPE_S ? "warn" : "" }) },
];

let shown = [];
let last = null;
let sorted = { label: null, down: false }; // none: trouble first, then by name

export function startFleet() {
  $("filter").addEventListener("input", () => last && showFleet(last));
}

export function showFleet(snapshot) {
  last = snapshot;
  const { endpoints } = snapshot;
  head(COLUMNS.filter((column) => !column.show || column.show(endpoints)));
  const most = {
    ttft: Math.max(...endpoints.map((e) => e.typical_ttft_s ?? 0)),
    tpot: Math.max(...endpoints.map((e) => e.typical_tpot_s ?? 0)),
  };
  const wanted = $("filter").value.trim().toLowerCase();
  const rows = endpoints.filter((e) => !wanted || text(e).includes(wanted)).sort(order);
  keep($("fleet"), rows, (e) => e.endpoint, row, (tr, e) => {
    cells(tr, shown.map((column) => {
      const cell = column.cell(e, most);
      // A name is made once: its row is its own.
      const at = tr.children[shown.indexOf(column)];
      if (cell.node && at?.textContent === cell.node.textContent) cell.node = at.firstChild;
      return { label: column.card ?? column.label, ...cell, className: `${cell.className ?? ""}${column.number ? " number" : ""}`.trim() };
    }));
    tr.className = kind(e) === "down" ? "off" : "";
  });
  $("filter-box").hidden = endpoints.length <= MANY;
  const empty = $("fleet-empty");
  empty.hidden = rows.length > 0;
  say(empty, endpoints.length ? "No endpoint is like that." : "No endpoint is configured.");
  showTypical(snapshot, rows.length);
}

function showTypical({ typical, endpoints }, rows) {
  const few = rows < endpoints.length ? `${count(rows)} of ${count(endpoints.length)} shown. ` : "";
  const [one] = typical;
  if (!one) {
    say($("typical"), few);
    return;
  }
  const sizes = (t) => `${count(t.prompt_tokens)} prompt tokens${t.cached_tokens ? ` (${count(t.cached_tokens)} cached)` : ""}, ${count(t.output_tokens)} output`;
  const of = one.requests ? `the medians of the last ${many(one.requests, "request")}` : "assumed until requests have shown more";
  say($("typical"), `${few}A typical request: ${typical.length > 1 ? "by model; " : ""}${typical.length > 1 ? typical.map((t) => `${t.model} ${sizes(t)}`).join("; ") : `${sizes(one)}: ${of}`}.`);
}

function head(columns) {
  if (columns.length === shown.length && columns.every((c, i) => c === shown[i])) return;
  shown = columns;
  const span = (labels) => columns.filter((c) => labels.includes(c.label)).length;
  const now = columns.length - span(["TTFT", "TPOT", "TTFT error", "TPOT error", "Scraped", "Sent", "Tokens"]);
  const groups = make("tr", { role: "row", class: "groups" },
    make("td", { colspan: now, role: "cell" }),
    make("th", { colspan: 2, scope: "colgroup", role: "columnheader" }, "In flight from here"),
    make("th", { colspan: 2, scope: "colgroup", role: "columnheader" }, make("span", { class: "predicted" }, "Typical request now")),
    make("th", { colspan: 2, scope: "colgroup", role: "columnheader" }, "Error lately"),
    make("td", { role: "cell" }));
  const titles = make("tr", { role: "row" }, ...columns.map((column) => {
    const button = make("button", { type: "button", class: "sort", title: column.title }, column.label.replace(/ error$/, ""));
    if (column.label.endsWith(" error")) button.append(make("span", { class: "hidden" }, " error"));
    button.addEventListener("click", () => sortBy(column));
    return make("th", { scope: "col", role: "columnheader", class: column.number ? "number" : "", "aria-sort": "none" }, button);
  }));
  $("fleet-head").replaceChildren(groups, titles);
}

// First up, then down, then as they were.
function sortBy(column) {
  const same = sorted.label === column.label;
  sorted = same && sorted.down ? { label: null, down: false } : { label: column.label, down: same };
  [...$("fleet-head").lastChild.children].forEach((th, index) => {
    const is = shown[index].label === sorted.label;
    th.setAttribute("aria-sort", is ? (sorted.down ? "descending" : "ascending") : "none");
  });
  if (last) showFleet(last);
}

function order(a, b) {
  const column = COLUMNS.find((c) => c.label === sorted.label);
  const by = column ? column.of : (e) => STATES[kind(e)][2];
  return compare(by(a), by(b), sorted.down) || compare(a.endpoint, b.endpoint, false);
}

function compare(a, b, down) {
  if (a == null || b == null) return (a == null) - (b == null); // what is unknown comes last
  const way = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return down ? -way : way;
}

export function kind(e) {
  if (!e.up) return "down";
  if (e.suspicion) return "suspect";
  if (e.draining) return "draining";
  if (e.scrape_age_s > OLD_SCRAPE_S) return "stale";
  return e.priority_class > 0 ? "standby" : "up";
}

function state(e) {
  const which = kind(e);
  const [mark, tone] = STATES[which];
  const told = which === "suspect" ? e.suspicion : which;
  const more = which === "suspect" && e.draining ? ", draining" : "";
  const node = make("span", { class: "state" }, make("span", { "aria-hidden": "true" }, `${mark} `), `${told}${more}`);
  return { node, className: tone };
}

function forecast(e, target, most) {
  const [mean, p90] = [e[`typical_${target}_s`], e[`typical_${target}_p90_s`]];
  if (mean == null) return { text: DASH, bar: null, className: "bar forecast" };
  return { text: seconds(mean), title: `nine in ten below ${seconds(p90)}`, bar: most[target] ? mean / most[target] : 0, className: "bar forecast" };
}

const text = (e) => `${e.endpoint} ${e.hardware ?? ""} ${e.model ?? ""} ${kind(e)} ${e.suspicion ?? ""} ${e.draining ? "draining" : ""}`.toLowerCase();
