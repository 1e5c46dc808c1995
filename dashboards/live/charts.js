// Predicted and actual over time, drawn by uPlot (a global: see vendor/).

import { $, say } from "./dom.js";
import { clock, percent, seconds } from "./format.js";

const KEPT_SECONDS = 900;
const LAST_S = 60;
const QUIET_S = 15; // a line over a longer pause would tell of requests that never were
const TICKS_S = [1, 5, 15, 30, 60, 120, 300, 600];
const bySecond = new Map();
const charts = [];
let nowS = null; // the router's

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const series = () => [...bySecond.values()];

export function startCharts() {
  draw();
  document.documentElement.addEventListener("theme", draw);
  new ResizeObserver(() => charts.forEach(({ plot, box }) => plot.setSize(size(box)))).observe(document.querySelector(".charts"));
}

// Take in the seconds of one snapshot; the first of a connection replaces everything.
export function addSeries(seconds_, { fresh }) {
  if (fresh) bySecond.clear();
  for (const second of seconds_) bySecond.set(second.at_s, second);
  for (const at of [...bySecond.keys()].slice(0, -KEPT_SECONDS)) bySecond.delete(at);
}

export function showCharts(atS) {
  nowS = atS;
  for (const { plot, fields, target } of charts) {
    plot.setData(columns(fields));
    if (plot.cursor.idx == null) summary(target, fields);
  }
}

function draw() {
  for (const { plot } of charts.splice(0)) plot.destroy();
  add("ttft");
  add("tpot");
}

function add(target) {
  const box = $(target);
  const fields = [`${target}_s`, `predicted_${target}_s`];
  const axis = {
    stroke: colour("--quiet"), font: "11px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
  };
  const line = (label, name, extra = {}) => ({
    label, stroke: colour(name), width: 1.6,
    points: { show: (plot) => plot.data[0].length < 3 }, ...extra,
  });
  const options = {
    ...size(box),
    legend: { show: false },
    padding: [8, 26, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, __, max) => [0, (max || 1) * 1.08] } },
    axes: [
      { ...axis, space: 70, size: 28, incrs: TICKS_S, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: 58, values: (_, ticks) => ticks.map((t) => (t ? seconds(t) : "0")) },
    ],
    series: [{}, line("actual", "--actual"), line("predicted", "--predicted", { dash: [5, 4] })],
    hooks: { setCursor: [(plot) => pointed(plot, target, fields)] },
  };
  charts.push({ box, fields, target, plot: new uPlot(options, columns(fields), box) });
}

// What the chart says in words; what it says under the pointer, while there is one.
function summary(target, fields) {
  const rows = series();
  const last = rows.filter((row) => row.at_s > nowS - LAST_S - 1 && row[fields[0]] != null && row[fields[1]] != null);
  const mean = (field) => last.reduce((sum, row) => sum + row[field] * row.requests, 0) / last.reduce((sum, row) => sum + row.requests, 0);
  const readout = $(`${target}-readout`);
  if (!last.length) {
    say(readout, rows.length ? "nothing to compare in the last minute" : "");
    return;
  }
  const [actual, predicted] = fields.map(mean);
  say(readout, `last minute ${seconds(actual)} on average, ${seconds(predicted)} predicted (${predicted >= actual ? "+" : "−"}${percent(Math.abs(predicted / actual - 1))})`);
}

function pointed(plot, target, fields) {
  const { idx } = plot.cursor;
  if (idx == null) {
    summary(target, fields);
    return;
  }
  const [at, actual, predicted] = plot.data.map((column) => column[idx]);
  say($(`${target}-readout`), `${clock(at)}: ${seconds(actual)} actual, ${seconds(predicted)} predicted`);
}

// uPlot breaks a line at null, and draws on over undefined.
function columns(fields) {
  const table = [[], ...fields.map(() => [])];
  const add = (at, values) => [at, ...values].forEach((value, index) => table[index].push(value));
  let last = Infinity;
  for (const row of series().filter((one) => fields.some((name) => one[name] != null))) {
    if (row.at_s - last > QUIET_S) add(last + 1, fields.map(() => null));
    add(row.at_s, fields.map((name) => row[name] ?? undefined));
    last = row.at_s;
  }
  if (nowS - last > QUIET_S) add(nowS, fields.map(() => null)); // up to the present all the same
  return table;
}

function size(box) {
  return { width: Math.max(200, box.clientWidth), height: box.clientHeight || 200 };
}
