// What the colours mean, and which of it is shown.

const legend = document.getElementById("legend");
const colourChoice = document.getElementById("colour");
let coloured = null;
const LISTED = 300;

function fillColours() {
  colourChoice.append(new Option("nothing", "-1"));
  columns.forEach((column, at) => {
    if (column.kind !== "text") colourChoice.append(new Option(column.name, String(at)));
  });
  const first = columns.findIndex((column) => column.kind !== "text");
  colourChoice.value = String(first);
  setColour(first);
}

function setColour(at) {
  coloured = at >= 0 ? columns[at] : null;
  colourBy(coloured);
  tellLegend();
  repaint();
}

function filtered() {
  filter();
  tellChosen();
  tellList(0);
  repaint();
}

function tellLegend() {
  legend.replaceChildren();
  if (!coloured) return;
  if (coloured.kind === "categories") tellCategories(coloured);
  else tellNumbers(coloured);
}

function tellCategories(column) {
  const boxes = new Map();
  const only = (code) => {
    const alone = column.off.size === column.names.length - 1 && !column.off.has(code);
    column.off.clear();
    if (!alone) for (const other of column.order) if (other !== code) column.off.add(other);
    boxes.forEach((box, own) => (box.checked = !column.off.has(own)));
    filtered();
  };
  for (const code of column.order.slice(0, LISTED)) {
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.checked = !column.off.has(code);
    box.addEventListener("change", () => {
      if (box.checked) column.off.delete(code);
      else column.off.add(code);
      filtered();
    });
    boxes.set(code, box);
    const swatch = element("span");
    swatch.className = "swatch";
    swatch.style.background = column.colours[code];
    const count = element("span", column.counts[code].toLocaleString("en"));
    count.className = "count";
    const name = column.names[code] || "none";
    const button = element("button", "only");
    button.className = "only";
    button.type = "button";
    button.setAttribute("aria-label", `only ${name}`);
    button.addEventListener("click", (event) => {
      event.preventDefault();
      only(code);
    });
    label.append(box, swatch, element("span", name), count, button);
    legend.append(label);
  }
  if (column.order.length > LISTED) {
    legend.append(element("p", `and ${column.order.length - LISTED} smaller ones`));
  }
}

function tellNumbers(column) {
  const bar = element("canvas");
  bar.width = 256;
  bar.height = 1;
  const strip = bar.getContext("2d");
  const line = strip.createImageData(256, 1);
  new Uint32Array(line.data.buffer).set(RAMP);
  strip.putImageData(line, 0, 0);
  const ends = element("div");
  ends.className = "line";
  ends.append(element("span", numberText(column.low)), element("span", numberText(column.high)));
  const limits = element("div");
  limits.className = "ends";
  for (const [side, words, placeholder] of [
    ["from", "at least", column.least],
    ["to", "at most", column.most],
  ]) {
    const label = element("label", words);
    const input = element("input");
    input.type = "number";
    input.step = "any";
    input.placeholder = numberText(placeholder);
    input.value = column[side] === null ? "" : column[side];
    input.addEventListener("input", () => {
      column[side] = input.value === "" ? null : Number(input.value);
      filtered();
    });
    label.append(input);
    limits.append(label);
  }
  legend.append(bar, ends, limits);
}
