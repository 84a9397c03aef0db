// The three middle slices of the newest volume, as grey pictures.

const NAMES = ["axial", "coronal", "sagittal"];

export function drawSlices(model) {
  const slices = model.slices;
  document.getElementById("slices-of").textContent = slices === null ? "none yet" : `volume ${slices.index}`;
  if (slices === null) return;
  for (const name of NAMES) draw(document.getElementById(name), slices[name]);
}

function draw(canvas, { width, height, pixels }) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const raw = atob(pixels);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let row = 0; row < height; row += 1) {
    const from = (height - 1 - row) * width; // the first row of the array is the lowest
    for (let column = 0; column < width; column += 1) {
      const place = 4 * (row * width + column);
      picture.data.fill(raw.charCodeAt(from + column), place, place + 3);
      picture.data[place + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
}
