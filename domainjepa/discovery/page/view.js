// What part of the plane the map shows: its middle, and pixels a unit.

const map = document.getElementById("map");
const view = { x: 0.5, y: 0.5, scale: 1, width: 1, height: 1, ratio: 1 };

function fitScale() {
  return 0.94 * Math.min(view.width, view.height);
}

function fit() {
  view.x = 0.5;
  view.y = 0.5;
  view.scale = fitScale();
}

function measure() {
  const box = map.getBoundingClientRect();
  const before = view.scale / fitScale();
  view.ratio = Math.min(window.devicePixelRatio || 1, 2);
  view.width = Math.max(1, Math.round(box.width * view.ratio));
  view.height = Math.max(1, Math.round(box.height * view.ratio));
  map.width = view.width;
  map.height = view.height;
  view.scale = before * fitScale();
}

function zoomAt(factor, px, py) {
  const least = 0.4 * fitScale();
  const scale = Math.min(Math.max(view.scale * factor, least), 4000 * fitScale());
  view.x += (px - view.width / 2) * (1 / view.scale - 1 / scale);
  view.y += (py - view.height / 2) * (1 / view.scale - 1 / scale);
  view.scale = scale;
}

function onMap(event) {
  const box = map.getBoundingClientRect();
  return [(event.clientX - box.left) * view.ratio, (event.clientY - box.top) * view.ratio];
}

function screenX(sample) {
  return (X[sample] - view.x) * view.scale + view.width / 2;
}

function screenY(sample) {
  return (Y[sample] - view.y) * view.scale + view.height / 2;
}

// The nearest sample that is shown, within so many pixels; -1 where there is none.
function sampleAt(px, py, within) {
  let best = within * within;
  let found = -1;
  for (let sample = 0; sample < N; sample += 1) {
    if (!passes[sample]) continue;
    const dx = screenX(sample) - px;
    const dy = screenY(sample) - py;
    const far = dx * dx + dy * dy;
    if (far < best) {
      best = far;
      found = sample;
    }
  }
  return found;
}

function isInView(sample) {
  const x = screenX(sample);
  const y = screenY(sample);
  return x >= 0 && y >= 0 && x < view.width && y < view.height;
}
