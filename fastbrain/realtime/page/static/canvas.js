// Canvases at the resolution of the screen, and the colours of the theme.

let colours = {};

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "line", "blue", "vermilion", "green", "orange", "purple", "sky"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export function colour(name) {
  return colours[name];
}

// Return the 2D context, cleared and scaled to CSS pixels, with its width and height.
export function prepared(canvas) {
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const [pixelsWide, pixelsHigh] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== pixelsWide || canvas.height !== pixelsHigh) {
    canvas.width = pixelsWide;
    canvas.height = pixelsHigh;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.lineJoin = "round";
  return { context, width, height };
}

// A step of 1, 2 or 5 times a power of ten that divides a span into at most `most` parts.
export function niceStep(span, most) {
  const raw = span / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
}

export function digitsOf(step) {
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
}
