// Latencies of the newest decodings: first word and sentence, with the deadline of the sentence.

import { colour, niceStep, prepared } from "./canvas.js";
import { quantile } from "./model.js";

const BINS = 48;
const [LEFT, RIGHT, TOP, BOTTOM] = [8, 8, 22, 20];
const STAGES = {
  queue: "waiting", motion: "motion", resample: "resampling", statistics: "statistics",
  window: "window", first_word: "first word", text: "sentence",
};

const element = (id) => document.getElementById(id);
const ms = (seconds) => (seconds === null || seconds === undefined ? "–" : `${Math.round(seconds * 1000)} ms`);

export function drawLatency(model) {
  const rows = [...model.latencies];
  const sorted = (name) => rows.map((row) => row[name]).filter((v) => v !== null && v !== undefined).sort((a, b) => a - b);
  const [first, text] = [sorted("first_word_s"), sorted("text_s")];
  const newest = model.latencies.at(-1);
  const deadline = newest?.deadline_s ?? model.state?.deadline_s ?? null;
  for (const [name, values, field] of [["first", first, "first_word_s"], ["text", text, "text_s"]]) {
    element(`${name}-p50`).textContent = ms(quantile(values, 0.5));
    element(`${name}-p99`).textContent = ms(quantile(values, 0.99));
    element(`${name}-new`).textContent = ms(newest?.[field]);
  }
  const over = deadline === null ? 0 : text.filter((value) => value > deadline).length;
  element("latency-of").textContent = rows.length
    ? `last ${rows.length} decoded windows, ${over} over the deadline`
    : "no window decoded yet";
  stages(rows);
  histogram(first, text, deadline);
}

function stages(rows) {
  const place = element("stages");
  const names = Object.keys(STAGES).filter((name) => rows.some((row) => row.stages_s?.[name] !== undefined));
  const medians = names.map((name) => {
    const values = rows.map((row) => row.stages_s?.[name]).filter((v) => typeof v === "number").sort((a, b) => a - b);
    return [STAGES[name], quantile(values, 0.5)];
  });
  place.replaceChildren(
    ...medians.map(([name, value]) => {
      const part = document.createElement("div");
      const term = document.createElement("dt");
      const number = document.createElement("dd");
      term.textContent = name;
      number.textContent = value === null ? "–" : `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
      part.append(term, number);
      return part;
    }),
  );
}

function histogram(first, text, deadline) {
  const canvas = element("histogram");
  const { context, width, height } = prepared(canvas);
  const longest = Math.max(deadline === null ? 0 : deadline * 1.15, quantile(text, 0.995) ?? 0, 0.05);
  const step = niceStep(longest, width < 380 ? 4 : 6);
  const end = Math.ceil(longest / step - 1e-9) * step;
  const x = (seconds) => LEFT + (seconds / end) * (width - LEFT - RIGHT);
  const floor = height - BOTTOM;
  const counts = [first, text].map((values) => binned(values, end));
  const most = Math.max(1, ...counts.flat());
  const y = (count) => floor - (count / most) * (floor - TOP);
  bottom(context, step, end, x, floor, width);
  if (text.length) area(context, counts[1], y, x, end, floor, "blue", []);
  if (first.length) area(context, counts[0], y, x, end, floor, "orange", [4, 2]);
  if (deadline !== null) deadlineLine(context, x(deadline), deadline, floor, width);
  canvas.setAttribute(
    "aria-label",
    text.length
      ? `Histogram of ${text.length} latencies: sentence median ${ms(quantile(text, 0.5))}, 99th percentile ` +
          `${ms(quantile(text, 0.99))}, deadline ${ms(deadline)}`
      : "no latencies yet",
  );
}

function binned(values, end) {
  const counts = new Array(BINS).fill(0);
  // the last bin holds all that is longer
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((value / end) * BINS))] += 1;
  return counts;
}

function bottom(context, step, end, x, floor, width) {
  context.strokeStyle = colour("muted");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(LEFT, floor + 0.5);
  context.lineTo(width - RIGHT, floor + 0.5);
  context.stroke();
  context.fillStyle = colour("muted");
  context.textBaseline = "top";
  for (let i = 0; i * step <= end * 1.0001; i += 1) {
    const last = (i + 1) * step > end * 1.0001;
    context.textAlign = i === 0 ? "left" : last ? "right" : "center";
    context.fillText(last ? ms(i * step) : `${Math.round(i * step * 1000)}`, x(i * step), floor + 5);
  }
}

function area(context, counts, y, x, end, floor, name, dash) {
  context.beginPath();
  context.moveTo(x(0), floor);
  counts.forEach((count, i) => {
    context.lineTo(x((i * end) / BINS), y(count));
    context.lineTo(x(((i + 1) * end) / BINS), y(count));
  });
  context.lineTo(x(end), floor);
  context.fillStyle = colour(name);
  context.globalAlpha = 0.22;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colour(name);
  context.lineWidth = 1.5;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

function deadlineLine(context, at, deadline, floor, width) {
  context.strokeStyle = colour("vermilion");
  context.lineWidth = 2;
  context.setLineDash([7, 4]);
  context.beginPath();
  context.moveTo(at, TOP - 4);
  context.lineTo(at, floor);
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = colour("ink");
  context.textBaseline = "top";
  context.textAlign = at > width / 2 ? "right" : "left";
  context.fillText(`deadline ${ms(deadline)}`, at + (at > width / 2 ? 1 : -1), 3);
}
