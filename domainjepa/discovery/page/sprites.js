// Pictures, cut from sheets that are decoded when they are needed; the longest unused are let go.
//
// To draw 500 pictures out of large sheets takes a browser without a graphics card 60 to 120 ms, out of small bitmaps
// one: so the map's pictures are cut once, at about the size at which they are drawn.

const SIDE = facts.sheets.side;
const ACROSS = facts.sheets.across;
const KEPT = 32;
const CUT = Math.min(SIDE, 64);
const MOST_CUT = 4000;
const decoded = new Map();
const waiting = new Map();
const cut = new Map();
const cutting = new Set();
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

// Looked up by a key, what is used moves to the end; the first are let go.
function used(cache, key, most) {
  const found = cache.get(key);
  if (found === undefined) return undefined;
  cache.delete(key);
  cache.set(key, found);
  while (cache.size > most) cache.delete(cache.keys().next().value);
  return found;
}

// The sheet of a number, decoded.
function load(number) {
  const found = used(decoded, number, KEPT);
  if (found) return Promise.resolve(found);
  if (!waiting.has(number)) {
    const made = decode(number).finally(() => waiting.delete(number));
    made.then((image) => decoded.set(number, image), () => {});
    waiting.set(number, made);
  }
  return waiting.get(number);
}

function placeOf(sample) {
  const inside = PLACE[sample] % (ACROSS * ACROSS);
  return {
    sheet: Math.floor(PLACE[sample] / (ACROSS * ACROSS)),
    left: (inside % ACROSS) * SIDE,
    top: Math.floor(inside / ACROSS) * SIDE,
  };
}

// The small picture of a sample where it is cut already; else it will be, and `whenReady` is called then.
function picture(sample) {
  const found = used(cut, sample, MOST_CUT);
  if (found) return found;
  if (!cutting.has(sample)) {
    cutting.add(sample);
    const { sheet, left, top } = placeOf(sample);
    load(sheet)
      .then((image) =>
        createImageBitmap(image, left, top, SIDE, SIDE, { resizeWidth: CUT, resizeHeight: CUT, resizeQuality: "medium" }),
      )
      .then((small) => {
        cut.set(sample, small);
        cutting.delete(sample);
        whenReady();
      })
      .catch(() => cutting.delete(sample));
  }
  return null;
}

// Fills a canvas with the picture of a sample, at once or when its sheet is decoded.
function portray(canvas, sample) {
  canvas.dataset.sample = sample;
  const { sheet, left, top } = placeOf(sample);
  load(sheet).then(
    (image) => {
      if (Number(canvas.dataset.sample) !== sample) return;
      const to = canvas.getContext("2d");
      to.imageSmoothingEnabled = canvas.width <= 2 * SIDE;
      to.imageSmoothingQuality = "high";
      to.drawImage(image, left, top, SIDE, SIDE, 0, 0, canvas.width, canvas.height);
    },
    () => {},
  );
}
