// What the page knows: read once from the JSON that stands in it.

const facts = JSON.parse(document.getElementById("facts").textContent);
const TYPES = { i4: Int32Array, f4: Float32Array, f8: Float64Array };

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}

function unpacked(base64, type) {
  return new TYPES[type](bytesOf(base64).buffer);
}

const N = facts.count;
const X = unpacked(facts.x, "f4");
const Y = unpacked(facts.y, "f4");
const ROWS = unpacked(facts.rows, "i4");
const NEAR = unpacked(facts.neighbours, "i4");
const COSINES = unpacked(facts.cosines, "f4");
const PLACE = unpacked(facts.sheets.place, "i4");

// Of each sample: whether the filters let it through, whether it is chosen, its colour as ABGR.
const passes = new Uint8Array(N).fill(1);
const chosen = new Uint8Array(N);
const colours = new Uint32Array(N);

function nameOf(sample) {
  return facts.ids ? facts.ids[sample] : `row ${ROWS[sample]}`;
}

function counted(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
