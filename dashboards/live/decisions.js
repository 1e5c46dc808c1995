// The last decisions, and one of them in full: who else there was, and what each would cost.

import { $, cells, keep, make, name, row, say } from "./dom.js";
import { DASH, clock, count, percent, plain, seconds, words } from "./format.js";

const COLUMNS = 9;
const WHY = {
  predicted: "lowest predicted cost",
  explored: "tried, after being passed over for long",
  objective_met: "cheapest that meets the objective",
  objective_unmet: "none meets the objective",
  session: "its conversation is there",
  canary: "canary",
  cold: "too little seen to predict by",
  shadow: "shadow mode",
  kill_switch: "kill switch",
  prediction_failed: "predicting failed",
  prediction_slow: "predicting takes too long",
  prediction_inaccurate: "predictions too far off",
  scores_unusable: "scores not usable",
};

export function startDecisions() {
  $("decisions").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const detail = $("decisions").querySelector("tr.detail");
    if (!detail) return;
    const button = detail.previousElementSibling.querySelector("button");
    close(detail, button);
    button.focus();
  });
}

export function showDecisions(decisions) {
  const body = $("decisions");
  const held = body.querySelector("tr.detail") !== null;
  $("held").hidden = !held;
  const empty = $("decisions-empty");
  empty.hidden = decisions.length > 0;
  if (!decisions.length) say(empty, `No requests yet. Point a client at ${location.origin}/v1`);
  if (held) return; // rows must not move under the reader
  keep(body, decisions, (d) => `${d.request_id} ${d.result.finished_at_s}`, row, (tr, d) => {
    if (tr.children.length) return; // a finished request does not change
    const button = make("button", { class: "open", type: "button", "aria-expanded": "false" }, clock(d.result.finished_at_s));
    button.setAttribute("aria-label", `${clock(d.result.finished_at_s)}, request ${d.request_id}: show the candidates`);
    button.addEventListener("click", () => toggle(tr, button, d));
    const tone = { completed: "", client_gone: "quiet", client_error: "quiet", shutdown: "quiet" }[d.result.outcome] ?? "bad";
    cells(tr, [
      { label: "Finished", node: button },
      { label: "Request", node: name(d.request_id, "mono") },
      { label: "Endpoint", node: name(d.endpoint ?? DASH, "mono") },
      { label: "Why there", text: why(d), className: "why" },
      ...both("TTFT", d.predicted_ttft_s, d.result.upstream_ttft_s),
      ...both("TPOT", d.predicted_tpot_s, d.result.tpot_s),
      { label: "Ended", text: words(d.refused ?? d.result.outcome), className: tone },
    ]);
  });
}

function both(target, predicted, actual) {
  const off = predicted != null && actual ? Math.abs(predicted / actual - 1) : null;
  return [
    { label: `${target} predicted`, text: seconds(predicted), className: "number" },
    { label: `${target} actual`, text: seconds(actual), title: off == null ? "" : `off by ${percent(off)}`, className: `number ${off >= 0.3 ? "far" : ""}`.trim() },
  ];
}

function why(d) {
  if (d.reason == null) return d.refused || d.result.outcome === "shed" ? "refused" : "answered by the router itself";
  const parts = [d.reason === "policy" ? words(d.policy) : WHY[d.reason] ?? words(d.reason)];
  if (d.spilled) parts.push(`on standby: ${words(d.spilled)}`);
  if (d.choices === 1) parts.push("the only candidate");
  else if (d.ahead > 0) parts.push(`${d.policy === "predicted_latency" ? seconds(d.ahead) : plain(d.ahead)} ahead`);
  else if (d.runner_up && d.reason === "predicted") parts.push("a near-tie");
  if (d.queued_s > 0.0005) parts.push(`waited ${seconds(d.queued_s)}`);
  if (d.attempts > 1) parts.push(`attempt ${d.attempts}`);
  return parts.join(", ");
}

function close(detail, button) {
  detail.remove();
  button.setAttribute("aria-expanded", "false");
  $("held").hidden = $("decisions").querySelector("tr.detail") === null;
}

async function toggle(tr, button, summary) {
  const next = tr.nextElementSibling;
  if (next?.classList.contains("detail")) {
    close(next, button);
    return;
  }
  button.setAttribute("aria-expanded", "true");
  $("held").hidden = false;
  const cell = make("td", { colspan: COLUMNS, role: "cell" }, "loading");
  tr.after(make("tr", { class: "detail", role: "row" }, cell));
  // A slash and all else may be in an id; what cannot be asked for is said below.
  const url = `decisions/${encodeURIComponent(summary.request_id)}`;
  const { body, problem } = await read(url);
  cell.replaceChildren(...(problem ? [problem] : account(body, summary, url)));
}

async function read(url) {
  try {
    const answer = await fetch(url);
    const body = await answer.json();
    return answer.ok ? { body } : { problem: body.error.message };
  } catch {
    return { problem: "The router did not answer." };
  }
}

function account(d, summary, url) {
  const asked = {
    request: name(d.request_id, "mono whole"), model: name(d.model, "whole"), tier: summary.tier,
    prompt: `${count(d.prompt_tokens)} tokens`,
    ...(wanted(d.request) && { objective: wanted(d.request) }),
  };
  const decided = {
    policy: words(d.policy), "rests on": d.layer ?? "no prediction", version: d.version ?? "none",
    ...(d.shadow_endpoint && { [`${words(d.shadow_policy)} in shadow`]: d.shadow_endpoint }),
    ...(summary.queued_s > 0.0005 && { queued: `${seconds(summary.queued_s)}${summary.waited_for ? `, ${words(summary.waited_for)}` : ""}` }),
  };
  const came = {
    ended: words(summary.refused ?? d.result.outcome), status: d.result.status ?? DASH, "end to end": seconds(d.result.e2e_s),
    output: `${count(d.result.output_tokens)} tokens`, cached: d.result.cached_tokens == null ? "not told" : `${count(d.result.cached_tokens)} tokens`,
  };
  const link = make("a", { href: url }, "everything as JSON");
  const others = (d.left_out ?? []).map((one) => (one.now ? `${one.endpoint} (${words(one.now)} now)` : one.endpoint));
  return [
    d.why ? make("p", { class: "sentence" }, d.why) : "",
    make("div", { class: "account" }, facts("Asked", asked), facts("Decided", decided), facts("Came of it", came)),
    d.candidates.length ? candidates(d) : make("p", { class: "quiet" }, "Refused before a decision was made."),
    make("p", { class: "quiet" }, others.length ? `No candidate: ${others.join(", ")}. ` : "", link),
  ];
}

// The request's objective, where the router tells it.
function wanted(request) {
  const limits = [["TTFT", request?.objective_ttft_s], ["TPOT", request?.objective_tpot_s]];
  return limits.filter(([, limit]) => limit != null).map(([target, limit]) => `${target} ${seconds(limit)}`).join(", ");
}

function facts(title, pairs) {
  return make("div", {}, make("h3", {}, title),
    make("dl", {}, ...Object.entries(pairs).map(([k, v]) => make("div", {}, make("dt", {}, k), make("dd", {}, v ?? DASH)))));
}

function candidates(d) {
  const terms = Object.keys(d.candidates[0].terms);
  // Heuristics score in units of their own.
  const unit = d.policy === "predicted_latency" ? seconds : plain;
  const most = Math.max(...d.candidates.map((c) => c.cost ?? 0));
  const heads = ["Candidate", "TTFT", "p90", "TPOT", "p90", "Prefix held", ...terms.map(words), "Cost"];
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Candidates table" },
    make("table", {},
      make("caption", { class: "hidden" }, "Candidates, best first: predicted times, tokens of the prompt held there, and the parts that the cost is the sum of."),
      make("thead", {},
        make("tr", {}, make("td"), make("th", { scope: "colgroup", colspan: 4, class: "number predicted" }, "Predicted there"), make("td"), make("th", { scope: "colgroup", colspan: terms.length + 1, class: "number" }, `The cost and its parts${unit === plain ? ", in units of the policy" : ""}`)),
        make("tr", {}, ...heads.map((h, i) => make("th", { scope: "col", class: i ? "number" : "" }, h)))),
      make("tbody", {}, ...d.candidates.map((c) => candidate(c, terms, unit, most)))));
}

function candidate(c, terms, unit, most) {
  const values = [
    seconds(c.predicted_ttft_s), seconds(c.predicted_ttft_p90_s), seconds(c.predicted_tpot_s),
    seconds(c.predicted_tpot_p90_s), count(c.matched_tokens), ...terms.map((t) => unit(c.terms[t])),
  ];
  const cost = make("td", { class: "number bar" }, unit(c.cost));
  cost.style.setProperty("--share", most > 0 && c.cost != null ? String(Math.max(c.cost / most, 0)) : "0");
  const first = make("th", { scope: "row" }, name(c.endpoint, "mono"), c.chosen ? make("span", { class: "chosen" }, "chosen") : null);
  return make("tr", { class: c.chosen ? "picked" : "" }, first, ...values.map((v) => make("td", { class: "number" }, v)), cost);
}
