// Server-sent events with a connection that comes back, and the commands to the session.

const AGAIN_MS = 4000; // after an answer that ends an EventSource for good: no token, too many pages

export function connect(onMessage, onConnected) {
  let source = null;

  function open() {
    source = new EventSource("events");
    source.onopen = () => onConnected(true);
    source.onmessage = (event) => onMessage(JSON.parse(event.data));
    source.onerror = () => {
      onConnected(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN_MS);
    };
  }

  open();
}

// Send a command; returns "" or why it was refused.
export async function command(name, body = {}) {
  try {
    const answer = await fetch(`control/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(5000),
    });
    if (answer.ok) return "";
    const kind = answer.headers.get("Content-Type") || "";
    const text = kind.startsWith("application/json") ? (await answer.json()).error : await answer.text();
    return text || `refused (${answer.status})`;
  } catch {
    return "the session does not answer";
  }
}
