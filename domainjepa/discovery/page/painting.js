// The map is painted into memory, pixel by pixel, and shown at once: 50,000 points take some milliseconds on any machine,
// without a graphics card.

const context = map.getContext("2d");
let image = null;
let pixels = null;
let background = 0;
let ink = "#000000";
let inkHex = ink;
let asked = false;
const marked = { hover: -1, card: -1, path: null };
const showPictures = document.getElementById("pictures");

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  background = packedColour(sixDigits(style.getPropertyValue("--map").trim()));
  ink = style.getPropertyValue("--ink").trim();
  inkHex = sixDigits(ink);
}

// #abc as #aabbcc.
function sixDigits(hex) {
  return hex.length === 4 ? `#${[...hex.slice(1)].map((digit) => digit + digit).join("")}` : hex;
}

function repaint() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const begun = performance.now();
    paint();
    map.dataset.frame = (performance.now() - begun).toFixed(2);
  });
}

function discOffsets(radius) {
  const reach = Math.ceil(radius);
  const found = [];
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      if (dx * dx + dy * dy <= radius * radius + 0.3) found.push(dy * view.width + dx);
    }
  }
  return { reach, at: Int32Array.from(found) };
}

function pointRadius() {
  const zoom = view.scale / fitScale();
  const base = N > 20000 ? 1.1 : N > 3000 ? 2.2 : 3;
  return Math.min(base * Math.sqrt(Math.max(zoom, 0.6)), 5) * view.ratio;
}

function stamp(disc, wanted, colour) {
  const { width, height, scale } = view;
  const left = width / 2 - view.x * scale;
  const top = height / 2 - view.y * scale;
  const { reach, at } = disc;
  for (let sample = 0; sample < N; sample += 1) {
    if (!passes[sample] || chosen[sample] !== wanted) continue;
    const x = (X[sample] * scale + left) | 0;
    const y = (Y[sample] * scale + top) | 0;
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const place = y * width + x;
    const painted = colour === null ? colours[sample] : colour;
    for (let i = 0; i < at.length; i += 1) pixels[place + at[i]] = painted;
  }
}

function paint() {
  if (!image || image.width !== view.width || image.height !== view.height) {
    image = context.createImageData(view.width, view.height);
    pixels = new Uint32Array(image.data.buffer);
  }
  pixels.fill(background);
  const radius = pointRadius();
  const disc = discOffsets(radius);
  stamp(disc, 0, null);
  stamp(discOffsets(radius + 2 * view.ratio), 1, packedColour(inkHex));
  stamp(discOffsets(radius + 0.8 * view.ratio), 1, null);
  context.putImageData(image, 0, 0);
  tiles.length = 0;
  if (showPictures.checked && view.scale > 1.8 * fitScale()) paintPictures();
  paintMarks(radius);
}

// One picture in each cell of a grid, that of the first sample in it: none hides another. The grid moves with the plane,
// so that pictures do not jump while the map is moved. What was painted where is kept for the pointer.

const tiles = [];

function paintPictures() {
  const zoom = view.scale / fitScale();
  const size = Math.round(Math.min(26 + 6 * Math.log2(zoom), 64) * view.ratio);
  const step = size + Math.round(6 * view.ratio);
  const left = Math.round(view.width / 2 - view.x * view.scale);
  const top = Math.round(view.height / 2 - view.y * view.scale);
  const firstX = Math.floor(-left / step);
  const firstY = Math.floor(-top / step);
  const wide = Math.ceil(view.width / step) + 2;
  const taken = new Uint8Array(wide * (Math.ceil(view.height / step) + 2));
  context.imageSmoothingEnabled = true;
  context.lineWidth = 2 * view.ratio;
  for (let sample = 0; sample < N; sample += 1) {
    if (!passes[sample] || !isInView(sample)) continue;
    const cellX = Math.floor((X[sample] * view.scale) / step);
    const cellY = Math.floor((Y[sample] * view.scale) / step);
    const cell = (cellY - firstY) * wide + cellX - firstX;
    if (taken[cell]) continue;
    taken[cell] = 1;
    const x = cellX * step + left + ((step - size) >> 1);
    const y = cellY * step + top + ((step - size) >> 1);
    const small = picture(sample);
    if (!small) continue;
    context.drawImage(small, x, y, size, size);
    tiles.push({ x, y, size, sample });
    const colour = chosen[sample] ? packedColour(inkHex) : colours[sample];
    context.strokeStyle = `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`;
    context.strokeRect(x, y, size, size);
  }
}

// The sample whose picture is at a place, else the nearest point within so many pixels; -1 where there is none.
function sampleUnder(px, py, within) {
  const tile = tiles.find((one) => px >= one.x && py >= one.y && px < one.x + one.size && py < one.y + one.size);
  return tile ? tile.sample : sampleAt(px, py, within);
}

function ring(sample, radius) {
  context.beginPath();
  context.arc(screenX(sample), screenY(sample), radius, 0, 2 * Math.PI);
  context.stroke();
}

function paintMarks(radius) {
  context.strokeStyle = ink;
  context.lineWidth = 2 * view.ratio;
  if (marked.hover >= 0) ring(marked.hover, radius + 3 * view.ratio);
  if (marked.card >= 0) {
    ring(marked.card, radius + 6 * view.ratio);
    context.lineWidth = view.ratio;
    for (let at = 0; at < facts.near; at += 1) {
      const other = NEAR[marked.card * facts.near + at];
      if (other >= 0 && passes[other]) ring(other, radius + 3 * view.ratio);
    }
  }
  if (document.activeElement === map && map.matches(":focus-visible")) {
    const x = view.width / 2;
    const y = view.height / 2;
    const arm = 10 * view.ratio;
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }
  if (marked.path) {
    context.setLineDash([6 * view.ratio, 4 * view.ratio]);
    context.beginPath();
    marked.path.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.stroke();
    context.setLineDash([]);
  }
}
