// Wires the messages of the session to the parts of the page; draws at most ten times a second.

import { readColours } from "./canvas.js";
import { connect } from "./connection.js";
import { wireControls } from "./controls.js";
import { drawCounts, drawLog } from "./counts.js";
import { drawHeader } from "./header.js";
import { drawLatency } from "./histogram.js";
import { Model } from "./model.js";
import { drawSlices } from "./slices.js";
import { drawText } from "./text.js";
import { drawTraces, makeTraces } from "./traces.js";

const EVERY_MS = 100;
const CLOCK_MS = 500; // for times that go on without messages

// part of the page -> types of messages that change it
const PARTS = [
  [drawText, ["word", "text", "control", "record", "state"]],
  [drawSlices, ["slices"]],
  [drawTraces, ["volume"]],
  [drawLatency, ["latency", "state"]],
  [drawCounts, ["state", "page"]],
  [drawLog, ["record", "mark"]],
];

const model = new Model();
let connected = false;
let [drawnAt, waiting, draws] = [-Infinity, false, 0];

function draw() {
  waiting = false;
  const now = performance.now();
  if (now - drawnAt < EVERY_MS) {
    soon();
    return;
  }
  [drawnAt, draws] = [now, draws + 1];
  const changed = model.changed;
  model.changed = new Set();
  drawHeader(model, connected, now);
  for (const [part, types] of PARTS) {
    if (changed.has("all") || types.some((type) => changed.has(type))) part(model, now);
  }
}

function soon() {
  if (waiting || document.hidden) return;
  waiting = true;
  const rest = Math.max(0, EVERY_MS - (performance.now() - drawnAt));
  setTimeout(() => requestAnimationFrame(draw), rest);
}

function everything() {
  readColours();
  model.changed.add("all");
  soon();
}

// the token is in a cookie from here on; it need not stay in the address, nor in the history
if (location.search) history.replaceState(null, "", location.pathname);
readColours();
makeTraces(document.getElementById("traces"));
wireControls();
connect(
  (message) => {
    model.apply(message, performance.now());
    soon();
  },
  (is) => {
    connected = is;
    soon();
  },
);
document.addEventListener("visibilitychange", everything);
window.addEventListener("resize", everything);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", everything);
setInterval(soon, CLOCK_MS);
soon();

// for a look from the browser's console
globalThis.fastbrain = { model, draws: () => draws };
