// Connects to the router's stream of snapshots and shows each; says so when it goes quiet.

import { addSeries, startCharts } from "./charts.js";
import { count } from "./format.js";
import { showDecisions, showEndpoints, showModels } from "./tables.js";

// A snapshot comes every second; several missing in a row are no hiccup.
const STALE_AFTER_MS = 5000;
const RECONNECT_MS = 2000;
const MODES = {
  predicted: ["predicted latency decides", "good"],
  shadow: ["shadow: the fallback decides, predictions are recorded", "warn"],
  heuristic: ["kill switch: the fallback decides", "bad"],
};

let lastSeen = null;

function connect() {
  const stream = new EventSource("events");
  let fresh = true;
  stream.onmessage = (event) => {
    lastSeen = Date.now();
    show(JSON.parse(event.data), { fresh });
    fresh = false;
    showConnection();
  };
  stream.onerror = () => {
    // The browser gives up on an error status, and its own retry would not tell that the
    // series starts over: make a stream of our own instead.
    stream.close();
    showConnection();
    setTimeout(connect, RECONNECT_MS);
  };
}

function show(snapshot, { fresh }) {
  const [text, tone] = MODES[snapshot.mode];
  const mode = document.getElementById("mode");
  mode.textContent = text;
  mode.className = `badge ${tone}`;
  const up = snapshot.endpoints.filter((e) => e.up).length;
  const inflight = snapshot.endpoints.reduce((sum, e) => sum + e.inflight_requests, 0);
  document.getElementById("totals").textContent =
    `${up} of ${snapshot.endpoints.length} endpoints up · ${count(inflight)} in flight`;
  addSeries(snapshot.series, { fresh });
  showModels(snapshot.models);
  showEndpoints(snapshot.endpoints);
  showDecisions(snapshot.decisions);
}

function showConnection() {
  const age = lastSeen === null ? null : Date.now() - lastSeen;
  const stale = age === null || age > STALE_AFTER_MS;
  document.body.classList.toggle("stale", stale);
  document.getElementById("connection").textContent = stale ? "disconnected" : "live";
  const banner = document.getElementById("banner");
  banner.hidden = !stale;
  if (stale) {
    const since = age === null ? "No data yet" : `No data for ${Math.round(age / 1000)} s: what you see is old`;
    banner.textContent = `${since}. Reconnecting…`;
  }
}

startCharts();
connect();
setInterval(showConnection, 1000);
