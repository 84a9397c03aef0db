// State of the session as the page knows it, from the messages of the server. Bounded: the page
// holds as much after a day as after ten minutes.

export const KEPT = { volumes: 600, latencies: 1000, texts: 50, log: 150, misses: 20 };
export const STATUSES = ["ok", "late", "dropped", "duplicate", "out_of_order", "bad_volume", "held"];

export class Ring {
  constructor(most) {
    this.most = most;
    this.items = [];
    this.start = 0;
  }

  push(item) {
    if (this.items.length < this.most) {
      this.items.push(item);
    } else {
      this.items[this.start] = item;
      this.start = (this.start + 1) % this.most;
    }
  }

  get length() {
    return this.items.length;
  }

  at(place) {
    const n = this.items.length;
    return n === 0 ? undefined : this.items[(this.start + (place < 0 ? n + place : place)) % n];
  }

  *[Symbol.iterator]() {
    for (let i = 0; i < this.items.length; i += 1) yield this.at(i);
  }
}

export class Model {
  constructor() {
    this.clear();
  }

  clear() {
    this.state = null;
    this.heardAt = 0; // performance.now() of the newest message
    this.stateAt = 0;
    this.volumes = new Ring(KEPT.volumes);
    this.latencies = new Ring(KEPT.latencies);
    this.texts = new Ring(KEPT.texts);
    this.log = new Ring(KEPT.log);
    this.misses = new Ring(KEPT.misses);
    this.word = null;
    this.held = null; // {index, reason, status}: since which volume there is no text of its own
    this.slices = null;
    this.dropped = 0;
    this.changed = new Set(["all"]);
  }

  apply(message, now) {
    this.heardAt = now;
    this.changed.add(message.type);
    switch (message.type) {
      case "snapshot":
        this.clear();
        for (const one of message.events) this.apply(one, now);
        this.changed.add("all");
        break;
      case "state":
        this.state = message;
        this.stateAt = now;
        break;
      case "volume":
        this.volumes.push(message);
        break;
      case "slices":
        this.slices = message;
        break;
      case "word":
        this.word = message;
        break;
      case "text":
        this.word = null;
        this.held = null;
        this.texts.push(message);
        break;
      case "control":
        this.amend(message);
        break;
      case "latency":
        this.latencies.push(message);
        break;
      case "record":
        this.close(message);
        break;
      case "mark":
        this.log.push(message);
        break;
      case "page":
        this.dropped = message.dropped;
        break;
      default:
    }
  }

  // confidence and control come after their sentence
  amend(control) {
    for (let i = 1; i <= this.texts.length; i += 1) {
      const text = this.texts.at(-i);
      if (text.index === control.index) {
        const { confidence, margin_no_brain, ranked } = control;
        Object.assign(text, { confidence, margin_no_brain, ranked });
        return;
      }
    }
  }

  close(record) {
    this.misses.push(Boolean(record.missed));
    if (record.status !== "ok") this.log.push(record);
    const newest = this.texts.at(-1);
    if (this.word !== null && this.word.index <= record.index) this.word = null;
    if (newest !== undefined && record.index > newest.index && record.text_of !== record.index) {
      const since = this.held?.index ?? record.index;
      this.held = { index: since, reason: record.reason, status: record.status };
    }
  }

  get missedOfLast() {
    let missed = 0;
    for (const one of this.misses) missed += one ? 1 : 0;
    return missed;
  }
}

export function quantile(sorted, share) {
  if (sorted.length === 0) return null;
  const place = (sorted.length - 1) * share;
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}
