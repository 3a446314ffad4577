// Pictures, cut from sheets that are decoded when they are needed; the longest unused are let go.

const SIDE = facts.sheets.side;
const ACROSS = facts.sheets.across;
const KEPT = 64;
const decoded = new Map();
const waiting = new Map();
// Sheets that one painting of the map asks for: of more than are kept, each would push another out.
const wantedNow = new Set();
let whenReady = () => {};

function decode(number) {
  if (facts.sheets.folder === null) {
    const text = document.getElementById(`sheet-${number}`).textContent;
    return createImageBitmap(new Blob([bytesOf(text)], { type: "image/webp" }));
  }
  const image = new Image();
  image.src = `${facts.sheets.folder}/${number}.webp`;
  return image.decode().then(() => image);
}

// The sheet where it is decoded already; else it begins, and `whenReady` is called later.
function sheet(number) {
  const found = decoded.get(number);
  if (found) {
    decoded.delete(number);
    decoded.set(number, found);
    return found;
  }
  load(number).then(() => whenReady());
  return null;
}

function load(number) {
  if (decoded.has(number)) return Promise.resolve();
  if (!waiting.has(number)) {
    const made = decode(number).then((image) => {
      waiting.delete(number);
      decoded.set(number, image);
      if (decoded.size > KEPT) decoded.delete(decoded.keys().next().value);
    });
    waiting.set(number, made);
    made.catch(() => {});
  }
  return waiting.get(number);
}

function sheetOf(sample) {
  return Math.floor(PLACE[sample] / (ACROSS * ACROSS));
}

function drawPicture(context, sample, x, y, size) {
  const number = sheetOf(sample);
  if (!wantedNow.has(number)) {
    if (wantedNow.size >= KEPT) return false;
    wantedNow.add(number);
  }
  const image = sheet(number);
  if (!image) return false;
  const inside = PLACE[sample] % (ACROSS * ACROSS);
  const left = (inside % ACROSS) * SIDE;
  const top = Math.floor(inside / ACROSS) * SIDE;
  context.drawImage(image, left, top, SIDE, SIDE, x, y, size, size);
  return true;
}

// Fills a canvas with the picture of a sample, at once or when its sheet is decoded.
function portray(canvas, sample) {
  canvas.dataset.sample = sample;
  const paintIt = () => {
    if (Number(canvas.dataset.sample) !== sample) return;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = canvas.width <= 2 * SIDE;
    wantedNow.clear();
    drawPicture(context, sample, 0, 0, canvas.width);
  };
  load(sheetOf(sample)).then(paintIt, () => {});
}
