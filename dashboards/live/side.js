// Tiers and queue, policies on trial, and the models with what each expert's word is worth.

import { $, cells, keep, make, name, row, say } from "./dom.js";
import { DASH, clock, count, errorClass, many, percent, seconds, words } from "./format.js";

const MET = { warn: 0.9, bad: 0.75 };

// What each expert is, by the layer it belongs to.
const LAYERS = [
  ["Physics", { smooth: "fleet", prior: "endpoint" }],
  ["Corrected online", { prior_bias: "endpoint, bias", fleet_bias: "fleet, bias", prior_river: "regression" }],
  ["Boosted trees", { ratio: "ratio", direct: "direct", ratio_bias: "ratio, bias" }],
];

export function showTiers({ tiers, requests, since_at_s: since }) {
  keep($("tiers"), tiers, (t) => t.tier, () => make("tr"), (tr, t) => {
    const met = t.judged ? t.met / t.judged : null;
    const tone = met == null ? "" : met < MET.bad ? "bad" : met < MET.warn ? "warn" : "";
    const wants = [t.ttft_s != null && `TTFT ${seconds(t.ttft_s)}`, t.tpot_s != null && `TPOT ${seconds(t.tpot_s)}`].filter(Boolean);
    const kept = tr.children[0]?.firstChild;
    cells(tr, [
      { node: kept ?? name(t.tier) },
      { text: wants.join(", ") || (t.judged ? "each its own" : "none"), className: wants.length ? "" : "quiet" },
      { text: percent(met), title: t.judged ? `${count(t.met)} of ${many(t.judged, "request")}` : "no request had an objective", className: `number ${tone}`.trim() },
      { text: count(t.waiting), title: t.waiting ? `of ${many(t.tenants.length, "tenant")}` : "", className: "number" },
      { text: seconds(t.oldest_s), className: "number" },
    ]);
  });
  say($("tiers-of"), requests ? `of the last ${many(requests, "request")}, since ${clock(since)}` : "");
}

export function showTrials({ trials, deciding }) {
  const notes = [
    ...deciding.filter((d) => d.canary).map((d) => `${words(d.canary)} decides for ${percent(d.canary_share_ratio)} of ${d.model}.`),
    ...trials.map((t) => gain(t, trials)),
  ];
  const list = $("trials");
  const shown = notes.length ? notes : ["Nothing is compared yet."];
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach((text, index) => say(list.children[index] ?? list.appendChild(make("li")), text));
}

function gain(t, all) {
  const more = (t.shadow_s - t.chosen_s) / t.requests;
  const whose = new Set(all.map((one) => one.model)).size > 1 ? ` (${t.model})` : "";
  const would = Math.abs(more) < 0.0005 ? "as long" : `${seconds(Math.abs(more))} ${more > 0 ? "longer" : "shorter"} (${percent(Math.abs(t.shadow_s / t.chosen_s - 1))})`;
  const decides = words(t.policy);
  return `${decides[0].toUpperCase()}${decides.slice(1)} decides, ${words(t.shadow)} in shadow${whose}: the same endpoint for ${percent(t.same / t.requests)} of ${many(t.requests, "request")}; by the predictions, a request itself would take ${would} where the shadow sends it; what it costs the others is not in that.`;
}

export function showModels(models) {
  keep($("models"), models, (m) => m.model, () => make("article", { class: "panel" }), (card, m) => {
    const wanted = JSON.stringify(m);
    if (card.dataset.shown === wanted) return;
    card.dataset.shown = wanted;
    card.replaceChildren(
      make("div", { class: "title" }, make("h3", {}, name(m.model, "whole")), make("span", { class: `badge ${{ cold: "warn", prior: "warn" }[m.layer] ?? ""}` }, { cold: "cold", prior: "physics only", mixture: "all experts" }[m.layer])),
      make("div", { class: "model" },
        make("div", {},
          make("p", { class: "quiet" }, version(m)),
          training(m.training),
          make("p", { class: "quiet" }, "Each expert is scored by what it said before the label came; the better its word has been lately, the more it weighs.")),
        experts(m)),
    );
  });
}

function version(m) {
  const refused = Object.values(m.refused).reduce((sum, n) => sum + n, 0);
  return `${m.version ? `Serves version ${m.version}` : "Serves no trained version"}; learned from ${many(m.observations, "label")}${refused ? `, refused ${count(refused)}` : ""}.`;
}

function experts(m) {
  const [ttft, tpot] = ["ttft", "tpot"].map((target) => m.targets.find((t) => t.target === target));
  const known = new Set(LAYERS.flatMap(([, names]) => Object.keys(names)));
  const others = Object.keys(ttft?.weights ?? {}).filter((expert) => !known.has(expert));
  const layers = others.length ? [...LAYERS, ["Others", Object.fromEntries(others.map((o) => [o, words(o)]))]] : LAYERS;
  const bodies = layers.map(([layer, names]) => make("tbody", {},
    make("tr", {}, make("th", { scope: "rowgroup", colspan: 5, class: "layer" }, layer)),
    ...Object.entries(names).map(([expert, label]) => make("tr", {}, make("th", { scope: "row" }, label), ...side(ttft, expert), ...side(tpot, expert)))));
  return make("table", { class: "experts" },
    make("caption", { class: "hidden" }, `Experts of ${m.model}: the error of each on what came next, and its weight in the prediction.`),
    make("thead", {},
      make("tr", {}, make("td"), ...["TTFT", "TPOT"].map((t) => make("th", { scope: "colgroup", colspan: 2, class: "number" }, t))),
      make("tr", {}, make("th", { scope: "col" }, "Expert"), ...[0, 1].flatMap(() => ["Error", "Weight"].map((h) => make("th", { scope: "col", class: "number" }, h))))),
    ...bodies,
    make("tfoot", {}, make("tr", {}, make("th", { scope: "row" }, "Served"), ...[ttft, tpot].flatMap(served))));
}

// A mean log error is a factor: 0.1 is 11 %.
function side(target, expert) {
  const error = target?.errors?.[expert];
  const weight = target?.weights[expert];
  const share = make("td", { class: "number bar" }, percent(weight));
  share.style.setProperty("--share", String(weight ?? 0));
  return [make("td", { class: "number" }, error == null ? DASH : percent(Math.expm1(error))), share];
}

function served(target) {
  return [
    make("td", { class: `number ${errorClass(target?.mdape_ratio)}`, title: "median" }, percent(target?.mdape_ratio)),
    make("td", { class: "number quiet", title: "share below the stated p90" }, target?.coverage_ratio == null ? DASH : `p90 ${percent(target.coverage_ratio)}`),
  ];
}

function training(t) {
  if (!t.enabled) return make("p", { class: "quiet" }, "No trainer: switched off.");
  if (!t.alive) return make("p", { class: "bad" }, `The trainer is not running${t.message ? `: ${t.message}` : "."}`);
  if (t.last_result == null) return make("p", { class: "quiet" }, "The trainer waits for data.");
  const parts = [`Last training ${words(t.last_result)}`];
  if (t.last_run_at_s != null) parts.push(`at ${clock(t.last_run_at_s)}`);
  if (t.rows != null) parts.push(many(t.rows, "row"));
  if (t.seconds != null) parts.push(seconds(t.seconds));
  return make("p", { class: "quiet" }, `${parts.join(", ")}${t.message ? `: ${t.message}` : "."}`);
}
