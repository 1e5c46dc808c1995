// Shows each snapshot of the router's stream; says so when none comes.

import { addSeries, series, showCharts, startCharts } from "./charts.js";
import { showDecisions, startDecisions } from "./decisions.js";
import { $, say } from "./dom.js";
import { showFleet, startFleet } from "./fleet.js";
import { clock } from "./format.js";
import { addPoints, showScatter, startScatter } from "./scatter.js";
import { showModels, showTiers, showTrials } from "./side.js";
import { Stream } from "./stream.js";
import { showFacts, showVerdict } from "./verdict.js";

// A connection that broke is mostly there again by then.
const LOST_MS = 1500;
let state = "connecting";
let problem = "";
let latest = null;

function snapshot(body, fresh) {
  latest = body;
  addSeries(body.series, { fresh });
  addPoints(body.points, { fresh });
  if (!document.hidden) show();
}

function show() {
  if (!latest) return;
  document.body.classList.remove("waiting");
  const seconds_ = series();
  showVerdict(latest, seconds_);
  showFacts(latest, seconds_);
  showFleet(latest);
  showDecisions(latest.decisions);
  showTiers(latest);
  showTrials(latest);
  showModels(latest.models);
  showCharts(latest.at_s);
  showScatter();
}

function showConnection() {
  const ageMs = stream.lastMs == null ? null : Date.now() - stream.lastMs;
  const stale = state === "refused" || (state === "lost" && ageMs > LOST_MS) || (ageMs != null && ageMs > stream.patienceMs) || (ageMs == null && state === "lost");
  document.body.classList.toggle("stale", stale);
  const age = ageMs == null ? "" : ` for ${spell(Math.round(ageMs / 1000))}`;
  say($("connection"), stale ? `disconnected${age}` : state === "live" ? `live ${clock(latest.at_s)}` : "connecting");
  const banner = $("banner");
  if (banner.hidden === stale) banner.hidden = !stale;
  if (!stale) return;
  const since = latest == null ? "No data yet" : `No data since ${clock(latest.at_s)}: what you see is old`;
  say(banner, `${since}. ${problem ? `The router says: ${problem}. ` : ""}Trying again.`);
}

const spell = (ageS) => (ageS < 120 ? `${ageS} s` : `${Math.floor(ageS / 60)} min`);

startFleet();
startDecisions();
startCharts();
startScatter();
const stream = new Stream("events", {
  snapshot,
  changed(now, message = "") {
    state = now;
    problem = now === "refused" ? message.replace(/\.$/, "") : "";
    showConnection();
  },
});
document.addEventListener("visibilitychange", () => document.hidden || show());
setInterval(showConnection, 1000);
