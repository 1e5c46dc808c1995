// Whether all is well, in one line, and what is not. Reads a snapshot; draws what it finds.

import { $, make, say } from "./dom.js";
import { DASH, clock, count, many, percent, rate, seconds, words } from "./format.js";

const LAST_S = 60; // rates and shares are of the last minute
const OLD_SCRAPE_S = 5; // endpoints are scraped several times a second
const FAILED = { warn: 0.01, bad: 0.05 };
const FEW = 2; // now and then one fails
const LONG_WAIT_S = { warn: 1, bad: 5 };
const ERROR_RATIO = 0.3; // as the alerts have it
const LEAST_COVERAGE = 0.8; // nine in ten is what a p90 promises
const LEAST_LABELS = 100;
const MET = { warn: 0.9, bad: 0.75 };
const LEAST_JUDGED = 20; // a few requests make no share

// What decides, in words, by the reason the ladder gives.
const REASONS = {
  predicted: "predictions decide",
  explored: "predictions decide",
  policy: "a heuristic is configured",
  cold: "too little seen yet to predict by",
  shadow: "shadow mode: predictions are only recorded",
  kill_switch: "kill switch: predictions are overruled",
  prediction_failed: "predicting failed",
  prediction_slow: "predicting takes too long",
  prediction_inaccurate: "predictions are too far off",
  scores_unusable: "its scores could not be used",
};
const WRONG = { prediction_failed: "bad", prediction_slow: "bad", prediction_inaccurate: "bad", scores_unusable: "bad", kill_switch: "warn", shadow: "warn" };

export function traffic(snapshot, series) {
  const now = snapshot.at_s;
  const last = series.filter((s) => s.at_s > now - LAST_S - 1 && s.at_s <= now - 1);
  const requests = last.reduce((sum, s) => sum + s.requests, 0);
  const failed = last.reduce((sum, s) => sum + s.failed, 0);
  // A router that has just begun has not a whole minute behind it.
  const first = series.length ? series[0].at_s : now;
  const spanS = Math.min(Math.max(now - first, 1), LAST_S);
  return { requests, failed, perS: requests / spanS, failedRatio: requests ? failed / requests : null };
}

export function queue(snapshot) {
  const waiting = snapshot.tiers.reduce((sum, t) => sum + t.waiting, 0);
  const tenants = new Set(snapshot.tiers.flatMap((t) => t.tenants)).size;
  const oldest = snapshot.tiers.reduce((most, t) => Math.max(most, t.oldest_s ?? 0), 0);
  return { waiting, tenants, oldest: waiting ? oldest : null };
}

// What is to be looked at: [tone, text], the worst first.
export function troubles(snapshot, series) {
  const found = [...ofEndpoints(snapshot), ...ofTraffic(snapshot, series), ...ofDeciding(snapshot), ...ofModels(snapshot), ...ofTiers(snapshot)];
  return found.map(sentence).sort((a, b) => (a[0] === b[0] ? 0 : a[0] === "bad" ? -1 : 1));
}

function* ofEndpoints({ endpoints }) {
  if (!endpoints.length) yield ["bad", "No endpoint is configured."];
  const down = endpoints.filter((e) => !e.up);
  if (endpoints.length && down.length === endpoints.length) yield ["bad", "No endpoint is up."];
  else if (down.length) yield ["bad", `${listed(down)} ${down.length === 1 ? "is" : "are"} down.`];
  const suspect = endpoints.filter((e) => e.up && e.suspicion);
  for (const reason of new Set(suspect.map((e) => e.suspicion))) {
    const those = suspect.filter((e) => e.suspicion === reason);
    yield ["warn", `${listed(those)} ${those.length === 1 ? "is" : "are"} left alone: ${words(reason)}.`];
  }
  const old = endpoints.filter((e) => e.up && e.scrape_age_s > OLD_SCRAPE_S);
  if (old.length) yield ["warn", `The last scrape of ${listed(old)} is old.`];
}

function* ofTraffic(snapshot, series) {
  const { failed, failedRatio, requests } = traffic(snapshot, series);
  if (failed > FEW && failedRatio > FAILED.warn) {
    yield [failedRatio > FAILED.bad ? "bad" : "warn", `${count(failed)} of ${many(requests, "request")} failed or were refused in the last minute.`];
  }
  const { waiting, oldest } = queue(snapshot);
  if (oldest > LONG_WAIT_S.warn) {
    yield [oldest > LONG_WAIT_S.bad ? "bad" : "warn", `${many(waiting, "request waits", "requests wait")} here, the oldest for ${seconds(oldest)}.`];
  }
}

function* ofDeciding({ deciding }) {
  for (const one of deciding) {
    const tone = WRONG[one.reason];
    if (tone) yield [tone, `${of(deciding, one)}${one.fallback} decides: ${REASONS[one.reason]}${one.problem ? ` (${one.problem})` : ""}.`];
  }
}

function* ofModels({ models }) {
  for (const one of models) {
    const whose = of(models, one);
    if (one.training.enabled && !one.training.alive) yield ["bad", `${whose}the trainer is not running.`];
    if (one.problem) yield ["warn", `${whose}the version in use is not served: ${one.problem}`];
    if (one.layer === "cold") continue; // nothing is claimed yet
    for (const t of one.targets) {
      if (!(one.labels[t.target] >= LEAST_LABELS)) continue; // a cold start is no alarm
      if (t.mdape_ratio > ERROR_RATIO) yield ["warn", `${whose}${t.target.toUpperCase()} is off by ${percent(t.mdape_ratio)} in the median.`];
      if (t.coverage_ratio != null && t.coverage_ratio < LEAST_COVERAGE) yield ["warn", `${whose}no more than ${percent(t.coverage_ratio)} of ${t.target.toUpperCase()} came within the stated p90.`];
    }
  }
}

function* ofTiers({ tiers }) {
  for (const t of tiers) {
    const met = t.met / t.judged;
    if (t.judged >= LEAST_JUDGED && met < MET.warn) yield [met < MET.bad ? "bad" : "warn", `Tier ${t.tier}: ${percent(met)} met their objective.`];
  }
}

function listed(endpoints) {
  const names = endpoints.slice(0, 2).map((e) => e.endpoint);
  if (endpoints.length > 2) names.push(`${endpoints.length - 2} more`);
  return names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

const of = (all, one) => (all.length > 1 ? `${one.model}: ` : "");

const sentence = ([tone, text]) => [tone, text.replace(/^[a-z]/, (first) => first.toUpperCase())];

export function showVerdict(snapshot, series) {
  const found = troubles(snapshot, series);
  const tone = found.length ? found[0][0] : "good";
  if (document.body.dataset.tone !== tone) document.body.dataset.tone = tone;
  const idle = !snapshot.requests;
  const well = idle ? "Ready. No requests yet." : "All is well.";
  say($("verdict-text"), found.length ? (found.length === 1 ? found[0][1] : `${many(found.length, "thing")} to look at.`) : well);
  const list = $("troubles");
  list.hidden = found.length < 2;
  const wanted = JSON.stringify(found);
  if (list.dataset.shown !== wanted) {
    list.dataset.shown = wanted;
    list.replaceChildren(...found.map(([kind, text]) => make("li", { class: kind }, text)));
  }
  document.title = `${found.length ? `(${found.length}) ` : ""}Foretoken`;
}

export function showFacts(snapshot, series) {
  const { perS, failed, failedRatio, requests } = traffic(snapshot, series);
  const { waiting, tenants, oldest } = queue(snapshot);
  const { endpoints, deciding, models } = snapshot;
  const up = endpoints.filter((e) => e.up).length;
  const inflight = endpoints.reduce((sum, e) => sum + e.inflight_requests, 0);
  const facts = [
    ["Endpoints", `${count(up)} of ${count(endpoints.length)} up`, aside(endpoints), up < endpoints.length ? "bad" : ""],
    ["Requests", `${rate(perS)} /s`, `${count(inflight)} in flight`, ""],
    ["Failed", percent(failedRatio), requests ? `${count(failed)} of ${count(requests)}, last minute` : "nothing in the last minute", failed <= FEW ? "" : failedRatio > FAILED.bad ? "bad" : failedRatio > FAILED.warn ? "warn" : ""],
    ["Deciding", ...decider(deciding, snapshot.mode)],
    ["Waiting here", count(waiting), waiting ? `${many(tenants, "tenant")}, oldest ${seconds(oldest)}` : "nobody waits", oldest > LONG_WAIT_S.bad ? "bad" : oldest > LONG_WAIT_S.warn ? "warn" : ""],
    ...["ttft", "tpot"].map((target) => error(models, target)),
  ];
  const list = $("facts");
  facts.forEach(([label, value, note, tone], index) => {
    const box = list.children[index] ?? list.appendChild(make("div", {}, make("dt"), make("dd", { class: "value" }), make("dd", { class: "note" })));
    const [dt, first, second] = box.children;
    say(dt, label);
    say(first, value);
    say(second, note);
    second.title = note;
    if (first.className !== `value ${tone}`) first.className = `value ${tone}`;
  });
}

function aside(endpoints) {
  const draining = endpoints.filter((e) => e.draining).length;
  const suspect = endpoints.filter((e) => e.up && e.suspicion).length;
  const told = [draining && `${draining} draining`, suspect && `${suspect} suspect`].filter(Boolean);
  return told.length ? told.join(", ") : "none draining or suspect";
}

function decider(deciding, mode) {
  if (!deciding.length) return [DASH, mode === "predicted" ? "no fleet yet" : words(mode), ""];
  // Of several fleets the one that is worst off.
  const rank = (one) => (WRONG[one.reason] ? 0 : one.reason === "cold" ? 1 : 2);
  const one = [...deciding].sort((a, b) => rank(a) - rank(b))[0];
  if (one.level == null) return [words(one.policy), "no decision yet", ""];
  const since = one.since_at_s == null ? "" : `, since ${clock(one.since_at_s)}`;
  const more = deciding.length > 1 ? `; ${many(deciding.length, "fleet")}` : "";
  const predicts = one.reason === "predicted" || one.reason === "explored";
  const value = predicts ? "predictions" : one.reason === "policy" ? words(one.policy) : one.level === "least_request" ? "least request" : words(one.fallback);
  const rests = { mixture: "all experts", prior: "physics, before the first training" };
  const why = predicts ? rests[one.level] : REASONS[one.reason] ?? words(one.reason);
  return [value, `${why}${since}${more}`, WRONG[one.reason] ?? ""];
}

function error(models, target) {
  const rows = models.flatMap((m) => m.targets.filter((t) => t.target === target && t.mdape_ratio != null).map((t) => ({ ...t, labels: m.labels[target] })));
  const worst = rows.sort((a, b) => b.mdape_ratio - a.mdape_ratio)[0];
  const label = `${target.toUpperCase()} error`;
  if (!worst) return [label, DASH, "nothing measured yet", ""];
  const tone = worst.labels >= LEAST_LABELS && worst.mdape_ratio > ERROR_RATIO ? "warn" : "";
  return [label, percent(worst.mdape_ratio), `median; p90 covers ${percent(worst.coverage_ratio)}`, tone];
}
