// The card of one sample: its picture, what is told of it, what is most like it.

const card = document.getElementById("card");
const portrait = document.getElementById("portrait");
const take = document.getElementById("take");

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function smallPicture(sample, size) {
  const canvas = element("canvas");
  canvas.width = size;
  canvas.height = size;
  canvas.setAttribute("aria-hidden", "true");
  portray(canvas, sample);
  return canvas;
}

function showCard(sample, focus) {
  marked.card = sample;
  card.hidden = false;
  document.getElementById("card-name").textContent = nameOf(sample);
  portrait.width = Math.max(256, SIDE);
  portrait.height = portrait.width;
  portrait.setAttribute("aria-label", `Picture of ${nameOf(sample)}`);
  portray(portrait, sample);
  const values = document.getElementById("values");
  values.replaceChildren(element("dt", "row"), element("dd", ROWS[sample]));
  for (const column of columns) {
    values.append(element("dt", column.name), element("dd", valueText(column, sample) || "–"));
  }
  const near = document.getElementById("neighbours");
  near.replaceChildren();
  for (let at = 0; at < facts.near; at += 1) {
    const other = NEAR[sample * facts.near + at];
    if (other < 0) continue;
    const cosine = COSINES[sample * facts.near + at].toFixed(2);
    const button = element("button");
    button.type = "button";
    button.title = nameOf(other);
    button.setAttribute("aria-label", `${nameOf(other)}, cosine ${cosine}`);
    button.append(smallPicture(other, 64), element("span", cosine));
    button.addEventListener("click", () => showCard(other, true));
    const line = element("li");
    line.append(button);
    near.append(line);
  }
  tellTaken();
  if (focus) card.focus({ preventScroll: false });
  repaint();
}

function tellTaken() {
  if (marked.card < 0) return;
  const on = chosen[marked.card] === 1;
  take.setAttribute("aria-pressed", String(on));
  take.textContent = on ? "Chosen" : "Choose this sample";
}

function hideCard() {
  marked.card = -1;
  card.hidden = true;
  repaint();
}

// Brings a sample into the map's middle, close enough to see who is around it.
function goTo(sample) {
  view.x = X[sample];
  view.y = Y[sample];
  view.scale = Math.max(view.scale, 3 * fitScale());
  showCard(sample, false);
}
