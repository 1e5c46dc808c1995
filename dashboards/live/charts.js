// Two charts of predicted against actual, drawn by uPlot (a global: see vendor/).

import { clock, seconds } from "./format.js";

const KEPT_SECONDS = 900;
const TICKS_S = [1, 5, 15, 30, 60, 120, 300, 600];
const bySecond = new Map();
const charts = [];

export function startCharts() {
  draw();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => charts.forEach(({ plot, box }) => plot.setSize(size(box)))).observe(
    document.querySelector(".charts"),
  );
}

// Take in the seconds of one snapshot; the first of a connection replaces everything.
export function addSeries(series, { fresh }) {
  if (fresh) bySecond.clear();
  for (const second of series) bySecond.set(second.at_s, second);
  for (const at of [...bySecond.keys()].slice(0, -KEPT_SECONDS)) bySecond.delete(at);
  charts.forEach(({ plot, fields }) => plot.setData(columns(fields)));
}

function draw() {
  for (const { plot } of charts.splice(0)) plot.destroy();
  add("ttft", ["ttft_s", "predicted_ttft_s"]);
  add("tpot", ["tpot_s", "predicted_tpot_s"]);
}

function add(id, fields) {
  const box = document.getElementById(id);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const line = (label, name, extra = {}) => ({
    label, stroke: colour(name), width: 2, spanGaps: true, value: (_, v) => seconds(v),
    points: { show: (plot) => plot.data[0].length < 3 }, ...extra,
  });
  const options = {
    ...size(box),
    scales: { y: { range: (_, __, max) => [0, (max || 1) * 1.08] } },
    axes: [{ ...axis, space: 70, incrs: TICKS_S, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 64, values: (_, ticks) => ticks.map((t) => (t ? seconds(t) : "0")) }],
    series: [
      { label: "at", value: (_, at) => (at == null ? "–" : clock(at)) },
      line("actual", "--actual"),
      line("predicted", "--predicted", { dash: [6, 4] }),
    ],
  };
  charts.push({ box, fields, plot: new uPlot(options, columns(fields), box) });
}

function columns(fields) {
  const rows = [...bySecond.values()];
  return [rows.map((row) => row.at_s), ...fields.map((name) => rows.map((row) => row[name]))];
}

function size(box) {
  return { width: Math.max(260, box.clientWidth), height: 210 };
}
