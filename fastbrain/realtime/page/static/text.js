// Decoded text with its confidence and its control, ranked phrases and earlier texts.
// Texts are set as textContent only: markup in them stays text.

const EARLIER = 6;
const [LONG, LONGEST] = [110, 500]; // characters from which the text is smaller
const SAID_EVERY_MS = 4000; // a screen reader hears the newest sentence at most so often
const SMALL = 0.05; // nats per token that are called no difference
const element = (id) => document.getElementById(id);
let [saidAt, said] = [-Infinity, ""];

export function drawText(model, now) {
  const newest = model.texts.at(-1);
  const word = model.word !== null && (newest === undefined || model.word.index > newest.index) ? model.word : null;
  header(model, newest, word);
  const sentence = element("sentence");
  sentence.classList.toggle("coming", word !== null);
  sentence.classList.toggle("old", word === null && (newest === undefined || model.held !== null));
  sentence.textContent = word !== null ? `${word.text} …` : (newest?.text ?? empty(model));
  const { length } = sentence.textContent;
  sentence.dataset.length = length > LONGEST ? "longest" : length > LONG ? "long" : "";
  measures(word === null ? newest : undefined, model.texts);
  ranked(newest?.ranked ?? []);
  element("ranked-of").textContent = newest === undefined ? "" : `of volume ${newest.index}, nats per token`;
  earlier(model, word !== null ? 0 : 1);
  if (newest !== undefined && newest.text !== said && now - saidAt >= SAID_EVERY_MS) {
    [saidAt, said] = [now, newest.text];
    element("spoken").textContent = newest.text;
  }
}

function empty(model) {
  if (model.state?.monitor) return "Monitoring: volumes are measured, nothing is decoded.";
  return model.state?.state === "stopped" ? "No window was decoded." : "Waiting for the first window.";
}

function header(model, newest, word) {
  const flag = element("text-flag");
  let [of, mark, kind] = ["", "", ""];
  if (word !== null) {
    of = `volume ${word.index}, first word after ${seconds(word.latency_s)}`;
  } else if (newest !== undefined) {
    of = `volume ${newest.index}, ${seconds(newest.latency_s)} after the volume`;
    if (model.held !== null) {
      [kind, mark] = ["held", `■ Held since volume ${model.held.index}, newest: ${model.held.reason || model.held.status}`];
    } else if (newest.missed) {
      [kind, mark] = ["late", "◆ Late: after its deadline"];
    }
  }
  element("text-of").textContent = of;
  flag.hidden = mark === "";
  flag.dataset.kind = kind;
  flag.textContent = mark;
}

function measures(text, texts) {
  const confidence = number(text?.confidence);
  element("confidence").textContent = confidence === null ? "–" : `${(100 * confidence).toFixed(0)} %`;
  element("confidence-bar").style.width = `${100 * Math.min(1, Math.max(0, confidence ?? 0))}%`;
  const margin = number(text?.margin_no_brain);
  const bar = element("margin-bar");
  const part = margin === null ? 0 : Math.min(1, Math.abs(margin));
  element("margin").textContent = margin === null ? "–" : signed(margin);
  bar.style.width = `${50 * part}%`;
  bar.style.left = `${margin !== null && margin < 0 ? 50 - 50 * part : 50}%`;
  bar.dataset.sign = margin !== null && margin <= SMALL ? "none" : "brain";
  const words =
    margin === null
      ? "nats per token more than without the brain"
      : margin > SMALL
        ? "nats per token: likelier with this window than without"
        : "nats per token: as likely without any brain";
  element("margin-words").textContent = words + mean(texts);
}

function mean(texts) {
  const margins = [...texts].map((text) => number(text.margin_no_brain)).filter((one) => one !== null);
  if (margins.length < 2) return "";
  const sum = margins.reduce((total, one) => total + one, 0);
  return `; mean of the last ${margins.length}: ${signed(sum / margins.length)}`;
}

function ranked(phrases) {
  element("ranked-part").hidden = phrases.length === 0;
  element("ranked").replaceChildren(
    ...phrases.map(([phrase, value]) => {
      const row = item([phrase, "phrase"], [signed(number(value)), "value"]);
      const end = 50 + 50 * Math.min(1, Math.max(-1, number(value) ?? 0));
      row.style.setProperty("--low", `${Math.min(50, end)}%`);
      row.style.setProperty("--high", `${Math.max(50, end)}%`);
      return row;
    }),
  );
}

function earlier(model, skipped) {
  const rows = [];
  for (let i = 1 + skipped; i <= model.texts.length && rows.length < EARLIER; i += 1) {
    const text = model.texts.at(-i);
    const margin = number(text.margin_no_brain);
    const row = item(
      [String(text.index), "index"],
      [text.text, "phrase"],
      [text.missed ? "◆ late" : "", "late"],
      [margin === null ? "" : signed(margin), "value"],
    );
    row.title = "volume, text, margin over the prompt alone in nats per token";
    rows.push(row);
  }
  element("earlier").replaceChildren(...rows);
}

function item(...parts) {
  const row = document.createElement("li");
  for (const [text, name] of parts) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    if (name === "phrase") part.dir = "auto";
    row.append(part, " ");
  }
  return row;
}

function number(value) {
  return typeof value === "number" ? value : null;
}

function signed(value) {
  if (value === null) return "–";
  const digits = Math.abs(value).toFixed(2);
  return Number(digits) === 0 ? digits : (value < 0 ? "−" : "+") + digits;
}

function seconds(value) {
  return typeof value === "number" ? `${Math.round(value * 1000)} ms` : "–";
}
