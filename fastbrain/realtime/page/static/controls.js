// Buttons: start, stop with a question, mark with a label.

import { command } from "./connection.js";

const LABELS = 20;
const element = (id) => document.getElementById(id);
const used = new Set();

function answer(text, failed = false) {
  const place = element("answer");
  place.textContent = text;
  place.classList.toggle("failed", failed);
}

async function send(name, body, done) {
  const refused = await command(name, body);
  answer(refused ? `${name}: ${refused}` : done, Boolean(refused));
  return !refused;
}

export function wireControls() {
  element("start").addEventListener("click", () => send("start", {}, "Started."));
  element("stop").addEventListener("click", () => element("sure").showModal());
  element("sure").addEventListener("close", () => {
    if (element("sure").returnValue === "yes") send("stop", {}, "Stopping.");
    element("sure").returnValue = "";
  });
  element("mark").addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = element("label");
    const label = field.value.trim();
    if (!label) {
      answer("mark: write a label first", true);
      field.focus();
      return;
    }
    if (await send("mark", { label }, `Marked “${label}”.`)) {
      field.value = "";
      offer(label);
    }
  });
}

function offer(label) {
  used.delete(label);
  used.add(label);
  while (used.size > LABELS) used.delete(used.values().next().value);
  element("labels").replaceChildren(
    ...[...used].reverse().map((one) => {
      const option = document.createElement("option");
      option.value = one;
      return option;
    }),
  );
}

export function allow(state, connected) {
  const live = connected && state !== null;
  element("start").disabled = !(live && state === "ready");
  element("stop").disabled = !(live && state !== "stopped");
  element("mark-button").disabled = !(live && state !== "stopped");
}
