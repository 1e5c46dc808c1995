// Models, endpoints and decisions, from one snapshot.

import { keepRows, make, setCells } from "./dom.js";
import { clock, count, errorClass, percent, plain, seconds, words } from "./format.js";

// Endpoints are scraped several times a second; this old is worth a look.
const OLD_SCRAPE_S = 5;

const number = (className = "") => `number ${className}`.trim();

export function showEndpoints(endpoints) {
  keepRows(document.getElementById("endpoints"), endpoints, (e) => e.endpoint, (row, e) => {
    const [state, tone] = endpointState(e);
    setCells(row, [
      { label: "Endpoint", value: e.endpoint },
      { label: "State", value: state, className: tone },
      { label: "Hardware", value: e.hardware ?? "–" },
      { label: "Running", value: count(e.running_requests), className: number() },
      { label: "Waiting", value: count(e.waiting_requests), className: number() },
      { label: "In flight", value: count(e.inflight_requests), className: number() },
      { label: "KV cache", value: kvCache(e.kv_cache_usage) },
      { label: "TTFT error", value: percent(e.ttft_error_ratio), className: number(errorClass(e.ttft_error_ratio)) },
      { label: "TPOT error", value: percent(e.tpot_error_ratio), className: number(errorClass(e.tpot_error_ratio)) },
      { label: "Scraped", value: e.scrape_age_s == null ? "never" : `${seconds(e.scrape_age_s)} ago`, className: number(e.scrape_age_s > OLD_SCRAPE_S ? "warn" : "") },
    ]);
  });
}

function endpointState(e) {
  if (!e.up) return ["down", "bad"];
  return e.draining ? ["draining", "warn"] : ["up", "good"];
}

function kvCache(usage) {
  if (usage == null) return "–";
  const box = make("span");
  box.append(make("meter", { min: 0, max: 1, high: 0.9, value: usage, "aria-hidden": "true" }), percent(usage));
  return box;
}

export function showModels(models) {
  keepRows(document.getElementById("models"), models, (m) => m.model, (card, m) => {
    card.className = "card";
    const tone = { cold: "warn", prior: "warn", mixture: "good" }[m.layer] ?? "";
    const refused = Object.values(m.refused).reduce((sum, n) => sum + n, 0);
    card.replaceChildren(
      make("h3", {}, m.model, make("span", { class: `badge ${tone}` }, m.layer)),
      make("div", { class: "quiet" },
        `version ${m.version ?? "none"} · ${count(m.observations)} observations` +
          (refused ? ` · ${count(refused)} refused` : "")),
      make("div", { class: "targets" }, ...m.targets.map(targetBlock)),
      trainingLine(m.training),
    );
  });
}

function targetBlock(t) {
  const weights = Object.entries(t.weights).sort((a, b) => b[1] - a[1]);
  // A colour belongs to a name, so that it is the same for both targets.
  const names = Object.keys(t.weights).sort();
  const colour = (name) => ({ class: `expert${(names.indexOf(name) % 8) + 1}` });
  const bar = make("div", { class: "weights", "aria-hidden": "true" }, ...weights.map(([name]) => make("span", colour(name))));
  weights.forEach(([, weight], index) => { bar.children[index].style.flexGrow = weight; });
  const experts = weights.map(([name, weight]) => make("li", colour(name), `${words(name)} ${percent(weight)}`));
  return make("div", {},
    make("div", { class: "target-line" },
      make("strong", {}, t.target.toUpperCase()),
      make("span", {}, "error ", make("span", { class: errorClass(t.mdape_ratio) }, percent(t.mdape_ratio))),
      make("span", {}, `p90 covers ${percent(t.coverage_ratio)}`)),
    ...(weights.length ? [bar, make("ul", { class: "experts quiet" }, ...experts)] : []));
}

function trainingLine(t) {
  if (!t.alive) return make("div", { class: "bad" }, `trainer is not running${t.message ? `: ${t.message}` : ""}`);
  if (t.last_result == null) return make("div", { class: "quiet" }, "trainer waits for data");
  const parts = [`training ${words(t.last_result)}`];
  if (t.last_run_at_s != null) parts.push(`at ${clock(t.last_run_at_s)}`);
  if (t.rows != null) parts.push(`${count(t.rows)} rows`);
  if (t.seconds != null) parts.push(seconds(t.seconds));
  if (t.message) parts.push(t.message);
  return make("div", { class: "quiet" }, parts.join(" · "));
}

export function showDecisions(decisions) {
  const body = document.getElementById("decisions");
  const held = body.querySelector("tr.detail") !== null;
  document.getElementById("paused").hidden = !held;
  if (held) return; // rows must not move under the reader
  keepRows(body, decisions, (d) => d.request_id, (row, d) => {
    if (row.children.length) return; // a finished request does not change
    const ok = d.result.outcome === "completed";
    const button = make("button", { class: "open", type: "button", "aria-expanded": "false", title: d.request_id },
      clock(d.result.finished_at_s));
    button.addEventListener("click", () => toggle(row, button, d));
    setCells(row, [
      { label: "Request", value: button },
      { label: "Endpoint", value: d.endpoint ?? "–" },
      { label: "Why", value: words(d.reason) + (d.attempts > 1 ? ` · attempt ${d.attempts}` : "") },
      { label: "TTFT predicted", value: seconds(d.predicted_ttft_s), className: number() },
      { label: "TTFT actual", value: seconds(d.result.upstream_ttft_s), className: number() },
      { label: "TPOT predicted", value: seconds(d.predicted_tpot_s), className: number() },
      { label: "TPOT actual", value: seconds(d.result.tpot_s), className: number() },
      { label: "Ended", value: words(d.result.outcome), className: ok ? "good" : "bad" },
    ]);
  });
}

async function toggle(row, button, summary) {
  if (row.nextElementSibling?.classList.contains("detail")) {
    row.nextElementSibling.remove();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  button.setAttribute("aria-expanded", "true");
  const cell = make("td", { colspan: 8 }, "loading…");
  row.after(make("tr", { class: "detail" }, cell));
  try {
    const answer = await fetch(`decisions/${encodeURIComponent(summary.request_id)}`);
    const body = await answer.json();
    cell.replaceChildren(...(answer.ok ? detail(body) : [body.error.message]));
  } catch {
    cell.textContent = "The router did not answer.";
  }
}

function detail(d) {
  const facts = {
    request: d.request_id, model: d.model, policy: words(d.policy), "rests on": d.layer ?? "no prediction",
    version: d.version ?? "none", "prompt tokens": count(d.prompt_tokens), "cached tokens": count(d.result.cached_tokens),
    "output tokens": count(d.result.output_tokens), "end to end": seconds(d.result.e2e_s),
    ...(d.shadow_endpoint && { "in shadow": d.shadow_endpoint }),
  };
  const terms = Object.keys(d.candidates[0]?.terms ?? {});
  // Heuristics score in units of their own.
  const unit = d.policy === "predicted_latency" ? seconds : plain;
  const heads = ["Candidate", "TTFT", "p90", "TPOT", "p90", "Matched", ...terms.map(words), "Cost"];
  const table = make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((h, i) => make("th", { scope: "col", class: i ? "number" : "" }, h)))),
    make("tbody", {}, ...d.candidates.map((c) => candidateRow(c, terms, unit))));
  return [
    make("dl", {}, ...Object.entries(facts).map(([k, v]) => make("div", {}, make("dt", {}, k), make("dd", {}, v)))),
    d.candidates.length ? make("div", { class: "scroll" }, table) : "Refused before a decision was made.",
  ];
}

function candidateRow(c, terms, unit) {
  const values = [
    seconds(c.predicted_ttft_s), seconds(c.predicted_ttft_p90_s), seconds(c.predicted_tpot_s),
    seconds(c.predicted_tpot_p90_s), count(c.matched_tokens), ...terms.map((t) => unit(c.terms[t])), unit(c.cost),
  ];
  return make("tr", { class: c.chosen ? "chosen" : "" },
    make("td", {}, (c.chosen ? "→ " : "") + c.endpoint), ...values.map((v) => make("td", { class: "number" }, v)));
}
