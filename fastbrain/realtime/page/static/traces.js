// Lines over the newest volumes: translation, rotation, framewise displacement, tSNR.

import { colour, digitsOf, niceStep, prepared } from "./canvas.js";

const DEGREES = 180 / Math.PI;
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 22, 8, 8];

// each line has a name, a colour and a dash of its own: never colour alone
const XYZ = [
  { name: "x", colour: "blue", dash: [] },
  { name: "y", colour: "vermilion", dash: [6, 3] },
  { name: "z", colour: "green", dash: [2, 2] },
];
const motion = (from, factor) =>
  XYZ.map((line, i) => ({
    ...line,
    value: (v) => (v.motion && v.motion.length === 6 ? v.motion[from + i] * factor : null),
  }));

export const PLOTS = [
  { id: "translation", title: "Translation", unit: "mm", least: 0.1, around: 0, lines: motion(0, 1) },
  { id: "rotation", title: "Rotation", unit: "°", least: 0.1, around: 0, lines: motion(3, DEGREES) },
  {
    id: "fd", title: "Framewise displacement", unit: "mm", least: 0.2, from: 0, marks: true,
    lines: [{ name: "", colour: "ink", dash: [], value: (v) => v.fd_mm }],
  },
  {
    id: "tsnr", title: "tSNR", unit: "", least: 4,
    lines: [{ name: "", colour: "purple", dash: [], value: (v) => v.tsnr }],
  },
];

export function makeTraces(place) {
  for (const plot of PLOTS) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = plot.title + (plot.unit ? ` (${plot.unit})` : "");
    const newest = document.createElement("span");
    newest.className = "muted";
    caption.append(" ", newest);
    const canvas = document.createElement("canvas");
    canvas.id = plot.id;
    canvas.className = "plot";
    canvas.setAttribute("role", "img");
    figure.append(caption, canvas);
    place.append(figure);
    Object.assign(plot, { canvas, newest });
  }
}

export function drawTraces(model) {
  const { volumes } = model;
  document.getElementById("traces-of").textContent = volumes.length
    ? `volumes ${volumes.at(0).index} to ${volumes.at(-1).index}, left to right`
    : "no volume yet";
  for (const plot of PLOTS) drawPlot(plot, volumes);
}

function drawPlot(plot, volumes) {
  const { context, width, height } = prepared(plot.canvas);
  describe(plot, volumes);
  if (volumes.length === 0) return;
  const [low, high] = range(plot, volumes);
  const first = volumes.at(0).index;
  const last = Math.max(volumes.at(-1).index, first + 20);
  const x = (index) => LEFT + ((index - first) / (last - first)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM);
  axis(context, low, high, y, width);
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, width - LEFT - RIGHT + 2, height);
  context.clip();
  for (const line of plot.lines) stroke(context, line, volumes, x, y);
  if (plot.marks) marks(context, volumes, x, height);
  context.restore();
  names(context, plot, volumes, y, width);
}

function range(plot, volumes) {
  let [low, high] = [Infinity, -Infinity];
  for (const volume of volumes) {
    for (const line of plot.lines) {
      const value = line.value(volume);
      if (value !== null && value !== undefined) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  if (low > high) [low, high] = [plot.around ?? 0, plot.around ?? 0];
  if (plot.from !== undefined) low = plot.from;
  if (plot.around !== undefined) [low, high] = [Math.min(low, plot.around), Math.max(high, plot.around)];
  const lacking = Math.max(0, plot.least - (high - low));
  if (plot.from === undefined) low -= lacking / 2;
  high += plot.from === undefined ? lacking / 2 : lacking;
  const air = 0.06 * (high - low);
  return [plot.from === undefined ? low - air : low, high + air];
}

function axis(context, low, high, y, width) {
  const step = niceStep(high - low, 4);
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
    const value = Math.abs(tick) < step / 1e6 ? 0 : tick;
    context.strokeStyle = colour("line");
    context.beginPath();
    context.moveTo(LEFT, Math.round(y(value)) + 0.5);
    context.lineTo(width - RIGHT, Math.round(y(value)) + 0.5);
    context.stroke();
    context.fillStyle = colour("muted");
    context.fillText(value.toFixed(digitsOf(step)), LEFT - 6, y(value));
  }
}

function stroke(context, line, volumes, x, y) {
  context.strokeStyle = colour(line.colour);
  context.lineWidth = 1.5;
  context.setLineDash(line.dash);
  context.beginPath();
  let [open, before] = [false, null];
  for (const volume of volumes) {
    const value = line.value(volume);
    if (value === null || value === undefined) {
      open = false;
      continue;
    }
    // a line is not drawn across volumes that never came
    if (open && volume.index === before + 1) context.lineTo(x(volume.index), y(value));
    else context.moveTo(x(volume.index), y(value));
    [open, before] = [true, volume.index];
  }
  context.stroke();
  context.setLineDash([]);
}

function marks(context, volumes, x, height) {
  for (const volume of volumes) {
    if (!volume.spike && !volume.held) continue;
    const [left, low] = [x(volume.index), height - 1];
    context.fillStyle = colour(volume.spike ? "vermilion" : "orange");
    if (volume.spike) {
      context.beginPath();
      context.moveTo(left, low - 9);
      context.lineTo(left + 4.5, low);
      context.lineTo(left - 4.5, low);
      context.fill();
    } else {
      context.fillRect(left - 2, low - 5, 4, 5);
    }
  }
}

function names(context, plot, volumes, y, width) {
  const newest = volumes.at(-1);
  if (newest === undefined) return;
  const ends = plot.lines
    .filter((line) => line.name && line.value(newest) !== null)
    .map((line) => ({ line, at: y(line.value(newest)) }))
    .sort((a, b) => a.at - b.at);
  for (let i = 1; i < ends.length; i += 1) ends[i].at = Math.max(ends[i].at, ends[i - 1].at + 11);
  const over = ends.length ? Math.max(0, ends.at(-1).at - (plot.canvas.clientHeight - 6)) : 0;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = "bold 12px system-ui, sans-serif";
  for (const { line, at } of ends) {
    context.fillStyle = colour(line.colour);
    context.fillText(line.name, width - RIGHT + 6, at - over);
  }
}

function describe(plot, volumes) {
  const newest = volumes.at(-1);
  const values = newest === undefined ? [] : plot.lines.map((line) => [line.name, line.value(newest)]);
  const shown = values
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name} ${value.toFixed(plot.id === "tsnr" ? 0 : 2)}`.trim())
    .join("  ");
  plot.newest.textContent = shown;
  plot.canvas.setAttribute("aria-label", `${plot.title}, newest: ${shown || "no value"} ${plot.unit}`);
}
