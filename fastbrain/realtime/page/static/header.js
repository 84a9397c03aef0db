// State of the session and of the connection, and the line that says what is wrong.

import { allow } from "./controls.js";
import { KEPT } from "./model.js";

const GLYPHS = { ready: "○", waiting: "◔", running: "▶", stalled: "⚠", stopped: "■", none: "○", lost: "⚠" };
const OVERLOAD = 3; // missed of the newest TRs
const QUIET_S = 5;
const element = (id) => document.getElementById(id);

export function drawHeader(model, connected, now) {
  const state = model.state?.state ?? null;
  const shown = connected ? (state ?? "none") : state === null ? "none" : "lost";
  element("state").dataset.state = shown;
  element("state").querySelector(".glyph").textContent = GLYPHS[shown] ?? "○";
  set("state-name", { none: "connecting", lost: "reconnecting" }[shown] ?? shown);
  set("state-more", more(model, shown, now));
  const { tr_s: tr, deadline_s: deadline, source, at_s: at, monitor } = model.state ?? {};
  set("fact-source", source ? source + (monitor ? ", monitoring" : "") : "–");
  set("fact-tr", tr ? `${Number(tr.toFixed(3))} s` : "–");
  element("fact-tr").title = deadline ? `deadline ${Math.round(deadline * 1000)} ms` : "";
  set("fact-volume", model.volumes.length ? String(model.volumes.at(-1).index) : "–");
  const ended = state === "stopped" || !connected;
  set("fact-time", at === undefined ? "–" : clock(at + (ended ? 0 : (now - model.stateAt) / 1000)));
  warn(model, connected, shown, now);
  allow(state, connected);
}

function more(model, shown, now) {
  if (shown === "waiting") return "for the first volume";
  if (shown === "stalled") return `no volume for ${silence(model, now).toFixed(1)} s`;
  if (shown === "ready") return "press Start";
  if (shown === "stopped" && model.state.reason) return `(${model.state.reason})`;
  return "";
}

function silence(model, now) {
  return (model.state?.silence_s ?? 0) + (now - model.stateAt) / 1000;
}

function warn(model, connected, shown, now) {
  const quiet = (now - model.heardAt) / 1000;
  const missed = model.missedOfLast;
  let text = "";
  if (shown === "lost") {
    text = "⚠ No connection to the session. What is shown is old; the page goes on trying.";
  } else if (shown === "stalled") {
    text = "⚠ Stalled: no volume comes. The session goes on by itself when the next one does.";
  } else if (connected && shown !== "stopped" && shown !== "none" && quiet > Math.max(QUIET_S, 4 * (model.state.tr_s ?? 0))) {
    text = `⚠ No news from the session for ${quiet.toFixed(0)} s.`;
  } else if (shown === "running" && missed >= OVERLOAD) {
    text = `◆ Overload: ${missed} of the last ${Math.min(KEPT.misses, model.misses.length)} TRs missed their deadline.`;
  }
  const place = element("alert");
  place.hidden = text === "";
  // an alert is read out at each change: numbers in it change at most once a second
  if (place.textContent !== text) place.textContent = text;
}

function set(id, text) {
  const place = element(id);
  if (place.textContent !== text) place.textContent = text;
}

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (value) => String(value).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}
