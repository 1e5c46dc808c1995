// Each request's actual over its predicted seconds, on logarithmic axes: on the diagonal the
// prediction was right, above the dotted line it took longer than nine in ten should.

import { colour } from "./charts.js";
import { $, say } from "./dom.js";
import { count, median, percent, seconds } from "./format.js";

const KEPT = 1000;
const MARGIN = { left: 58, right: 10, top: 8, bottom: 28 };
const points = new Map(); // by what makes one itself: a second still open is sent again
let waiting = false;

export function startScatter() {
  for (const target of ["ttft", "tpot"]) {
    const box = $(`${target}-points`);
    box.append(document.createElement("canvas"));
    new ResizeObserver(showScatter).observe(box);
  }
  document.documentElement.addEventListener("theme", showScatter);
}

export function addPoints(more, { fresh }) {
  if (fresh) points.clear();
  for (const one of more) points.set(`${one.at_s} ${one.predicted_ttft_s} ${one.ttft_s} ${one.tpot_s}`, one);
  for (const key of [...points.keys()].slice(0, -KEPT)) points.delete(key);
}

export function showScatter() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw("ttft");
    draw("tpot");
  });
}

function draw(target) {
  const rows = [...points.values()]
    .map((p) => ({ x: p[`predicted_${target}_s`], y: p[`${target}_s`], p90: p[`${target}_p90_s`] }))
    .filter((p) => p.x > 0 && p.y > 0);
  const box = $(`${target}-points`);
  const canvas = box.firstElementChild;
  const scale = devicePixelRatio || 1;
  const [width, height] = [box.clientWidth, box.clientHeight];
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "11px system-ui, sans-serif";
  tell(target, rows);
  if (!rows.length) {
    pen.fillStyle = colour("--quiet");
    pen.textAlign = "center";
    pen.fillText("no request to compare yet", width / 2, height / 2);
    return;
  }
  const range = bounds(rows);
  const at = (value) => (Math.log(value) - Math.log(range[0])) / (Math.log(range[1]) - Math.log(range[0]));
  const x = (value) => MARGIN.left + at(value) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom - at(value) * (height - MARGIN.top - MARGIN.bottom);
  grid(pen, range, x, y, { width, height });
  pen.save();
  pen.beginPath();
  pen.rect(MARGIN.left, MARGIN.top, width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom);
  pen.clip();
  const factor = median(rows.filter((p) => p.p90 > 0).map((p) => p.p90 / p.x)) ?? 1;
  interval(pen, factor, range, x, y);
  dots(pen, rows, x, y);
  names(pen, range, factor, x, y, { width, height });
  pen.restore();
}

// The same range both ways, so that the diagonal is one; a factor of four at least.
function bounds(rows) {
  let low = Infinity;
  let high = 0;
  for (const { x, y } of rows) {
    low = Math.min(low, x, y);
    high = Math.max(high, x, y);
  }
  const widen = Math.max(1.15, Math.sqrt(4 / (high / low)));
  return [low / widen, high * widen];
}

function grid(pen, range, x, y, { width, height }) {
  const ticks = decades(range);
  const all = ticks.length > 3 ? ticks.filter((t) => /^[1]/.test(t.toExponential())) : ticks;
  const labelled = all.length >= 2 ? all : ticks;
  pen.lineWidth = 1;
  pen.strokeStyle = colour("--line");
  pen.fillStyle = colour("--quiet");
  let last = -Infinity;
  for (const tick of labelled) {
    pen.beginPath();
    pen.moveTo(x(tick), MARGIN.top);
    pen.lineTo(x(tick), height - MARGIN.bottom);
    pen.moveTo(MARGIN.left, y(tick));
    pen.lineTo(width - MARGIN.right, y(tick));
    pen.stroke();
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(seconds(tick), MARGIN.left - 6, y(tick));
    pen.textAlign = "center";
    pen.textBaseline = "top";
    if (x(tick) < MARGIN.left + 14 || x(tick) > width - 24 || x(tick) < last + 52) continue;
    pen.fillText(seconds(tick), x(tick), height - MARGIN.bottom + 6);
    last = x(tick);
  }
}

// Above the dots, and legible there.
function names(pen, [low, high], factor, x, y, { width, height }) {
  pen.strokeStyle = colour("--panel");
  pen.lineWidth = 3;
  pen.lineJoin = "round";
  const write = (text, at, up, align, base) => {
    pen.textAlign = align;
    pen.textBaseline = base;
    pen.strokeText(text, at, up);
    pen.fillText(text, at, up);
  };
  pen.fillStyle = colour("--quiet");
  write("predicted →", width - MARGIN.right - 2, height - MARGIN.bottom - 3, "right", "bottom");
  write("↑ actual", MARGIN.left + 4, MARGIN.top + 2, "left", "top");
  pen.fillStyle = colour("--predicted");
  const last = Math.min(high, high / factor);
  write("p90", x(last) - 6, Math.max(y(last * factor) + 2, MARGIN.top + 2), "right", "top");
  write("as predicted", x(high) - 4, y(high) + 26, "right", "top");
}

function decades([low, high]) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const digit of [1, 2, 5]) {
      const tick = Number(`${digit}e${power}`);
      if (tick >= low && tick <= high) found.push(tick);
    }
  }
  return found;
}

// The diagonal, and the p90 that was stated: each point has its own, the line is their median.
function interval(pen, factor, [low, high], x, y) {
  pen.fillStyle = colour("--band");
  pen.beginPath();
  pen.moveTo(x(low), y(low));
  pen.lineTo(x(high), y(high));
  pen.lineTo(x(high), y(high * factor));
  pen.lineTo(x(low), y(low * factor));
  pen.fill();
  pen.strokeStyle = colour("--predicted");
  pen.lineWidth = 1.2;
  pen.beginPath();
  pen.moveTo(x(low), y(low));
  pen.lineTo(x(high), y(high));
  pen.stroke();
  pen.setLineDash([2, 3]);
  pen.beginPath();
  pen.moveTo(x(low), y(low * factor));
  pen.lineTo(x(high), y(high * factor));
  pen.stroke();
  pen.setLineDash([]);
}

// Within its own p90 a filled dot, beyond it a ring.
function dots(pen, rows, x, y) {
  pen.fillStyle = colour("--actual");
  pen.strokeStyle = colour("--actual");
  pen.lineWidth = 1.2;
  for (const p of rows) {
    const beyond = p.y > p.p90;
    pen.globalAlpha = beyond ? 0.9 : 0.45;
    pen.beginPath();
    pen.arc(x(p.x), y(p.y), beyond ? 2.6 : 2.2, 0, 2 * Math.PI);
    if (beyond) pen.stroke();
    else pen.fill();
  }
  pen.globalAlpha = 1;
}

function tell(target, rows) {
  const readout = $(`${target}-points-readout`);
  if (!rows.length) {
    say(readout, "");
    return;
  }
  const error = median(rows.map((p) => Math.abs(p.x - p.y) / p.y));
  const within = rows.filter((p) => p.y <= p.p90).length / rows.length;
  say(readout, `${count(rows.length)}: median error ${percent(error)}, ${percent(within)} within p90`);
}
