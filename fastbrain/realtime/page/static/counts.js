// Numbers of records by status, of everything that was left out, and the log of events.

import { STATUSES } from "./model.js";

const SHOWN = 60;
const GLYPHS = {
  ok: "●", late: "◆", dropped: "○", duplicate: "◎", out_of_order: "⇄", bad_volume: "✕", held: "■", mark: "⚑",
};
const OTHERS = [
  ["missed", "deadlines missed"],
  ["strays", "stray volumes"],
  ["queue_dropped", "skipped in the queue"],
  ["output_dropped", "dropped by slow outputs"],
  ["unwritten", "not written"],
];
const element = (id) => document.getElementById(id);

export function drawCounts(model) {
  const counters = model.state?.counters ?? {};
  const total = counters.records ?? 0;
  element("counts-of").textContent = `${total} TRs, ${counters.volumes ?? 0} volumes`;
  element("counts").replaceChildren(
    ...STATUSES.map((status) => {
      const count = counters[status] ?? 0;
      const share = total ? `${((100 * count) / total).toFixed(count && count < total ? 1 : 0)} %` : "";
      return row(status, GLYPHS[status], status.replaceAll("_", " "), count, share);
    }),
  );
  const others = OTHERS.map(([name, words]) => row(name, "", words, counters[name] ?? 0, ""));
  if (model.dropped) others.push(row("page_dropped", "", "lost by this page", model.dropped, ""));
  element("others").replaceChildren(...others);
}

export function drawLog(model) {
  const rows = [];
  for (let i = 1; i <= Math.min(SHOWN, model.log.length); i += 1) {
    const event = model.log.at(-i);
    const kind = event.type === "mark" ? "mark" : event.status;
    const entry = document.createElement("li");
    const words = event.type === "mark" ? event.label : event.reason;
    for (const [text, name] of [
      [event.index < 0 ? "–" : String(event.index), "index"],
      [`${GLYPHS[kind] ?? ""} ${kind.replaceAll("_", " ")}`, `kind ${kind}`],
      [words, "phrase"],
    ]) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      entry.append(part, " ");
    }
    rows.push(entry);
  }
  if (rows.length === 0) {
    const none = document.createElement("li");
    none.className = "muted";
    none.textContent = "no marks, and all records ok";
    rows.push(none);
  }
  element("log").replaceChildren(...rows);
}

function row(name, glyph, words, count, share) {
  const line = document.createElement("tr");
  line.dataset.name = name;
  line.classList.toggle("zero", count === 0);
  const head = document.createElement("th");
  head.scope = "row";
  if (glyph) {
    const sign = document.createElement("span");
    sign.className = `kind ${name}`;
    sign.setAttribute("aria-hidden", "true");
    sign.textContent = glyph;
    head.append(sign, " ");
  }
  head.append(words);
  const [number, part] = [document.createElement("td"), document.createElement("td")];
  number.textContent = String(count);
  part.textContent = share;
  line.append(head, number, part);
  return line;
}
