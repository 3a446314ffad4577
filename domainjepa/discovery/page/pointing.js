// Pointers on the map: moving it, zooming, drawing round samples, asking for one.

const tip = document.getElementById("tip");
const lassoButton = document.getElementById("lasso");
const fingers = new Map();
let drag = null;
const isNarrow = matchMedia("(max-width: 760px)");

function isLasso(event) {
  return event.shiftKey || event.altKey || lassoButton.getAttribute("aria-pressed") === "true";
}

map.addEventListener("pointerdown", (event) => {
  if (event.button > 0) return;
  map.setPointerCapture(event.pointerId);
  const at = onMap(event);
  fingers.set(event.pointerId, at);
  hideTip();
  if (fingers.size === 1) {
    drag = { from: at, last: at, moved: false, lasso: isLasso(event), path: [at], away: event.altKey };
  } else {
    drag = null;
    marked.path = null;
  }
});

map.addEventListener("pointermove", (event) => {
  const at = onMap(event);
  if (fingers.size === 2 && fingers.has(event.pointerId)) {
    pinch(event.pointerId, at);
  } else if (drag && fingers.has(event.pointerId)) {
    fingers.set(event.pointerId, at);
    dragTo(at);
  } else if (event.pointerType === "mouse") {
    hover(at);
  }
});

function pinch(id, at) {
  const [other] = [...fingers].filter(([one]) => one !== id).map(([, place]) => place);
  const before = fingers.get(id);
  const far = Math.hypot(before[0] - other[0], before[1] - other[1]) || 1;
  const now = Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
  view.x -= (at[0] - before[0]) / 2 / view.scale;
  view.y -= (at[1] - before[1]) / 2 / view.scale;
  zoomAt(now / far, (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
  fingers.set(id, at);
  repaint();
}

function dragTo(at) {
  if (Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > 4 * view.ratio) drag.moved = true;
  if (!drag.moved) return;
  if (drag.lasso) {
    const last = drag.path[drag.path.length - 1];
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) > 3 * view.ratio) drag.path.push(at);
    marked.path = drag.path;
  } else {
    map.classList.add("dragged");
    view.x -= (at[0] - drag.last[0]) / view.scale;
    view.y -= (at[1] - drag.last[1]) / view.scale;
    drag.last = at;
  }
  repaint();
}

function release(event) {
  fingers.delete(event.pointerId);
  map.classList.remove("dragged");
  const done = drag;
  drag = null;
  marked.path = null;
  if (!done || event.type === "pointercancel") {
    repaint();
    return;
  }
  if (done.lasso && done.moved) {
    choose(samplesWhere((sample) => passes[sample] && isWithin(done.path, screenX(sample), screenY(sample))), !done.away);
  } else if (!done.moved) {
    const sample = sampleUnder(done.from[0], done.from[1], (event.pointerType === "mouse" ? 12 : 24) * view.ratio);
    if (sample >= 0) {
      showCard(sample, false);
      if (isNarrow.matches) card.scrollIntoView({ block: "nearest" });
    }
  }
  repaint();
}

map.addEventListener("pointerup", release);
map.addEventListener("pointercancel", release);
map.addEventListener("pointerleave", hideTip);

// Whether a place lies within a closed path: an odd number of its sides cross the line to the left.
function isWithin(path, x, y) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i, i += 1) {
    const [xi, yi] = path[i];
    const [xj, yj] = path[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

function hover(at) {
  const sample = sampleUnder(at[0], at[1], 10 * view.ratio);
  if (sample === marked.hover) return;
  marked.hover = sample;
  if (sample < 0) {
    hideTip();
  } else {
    const told = coloured ? `\n${coloured.name}: ${valueText(coloured, sample) || "–"}` : "";
    tip.querySelector("span").textContent = `${nameOf(sample)}${told}`;
    tip.hidden = false;
    const picture = tip.querySelector("canvas");
    picture.getContext("2d").clearRect(0, 0, picture.width, picture.height);
    portray(picture, sample);
    const x = screenX(sample) / view.ratio;
    const y = screenY(sample) / view.ratio;
    const box = map.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, box.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, box.height - tip.offsetHeight - 4))}px`;
  }
  repaint();
}

function hideTip() {
  tip.hidden = true;
  if (marked.hover >= 0) {
    marked.hover = -1;
    repaint();
  }
}

map.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    hideTip();
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoomAt(Math.exp(-event.deltaY * lines * 0.0018), ...onMap(event));
    repaint();
  },
  { passive: false },
);

const KEYS = {
  ArrowLeft: () => (view.x -= 60 / view.scale),
  ArrowRight: () => (view.x += 60 / view.scale),
  ArrowUp: () => (view.y -= 60 / view.scale),
  ArrowDown: () => (view.y += 60 / view.scale),
  "+": () => zoomAt(1.3, view.width / 2, view.height / 2),
  "=": () => zoomAt(1.3, view.width / 2, view.height / 2),
  "-": () => zoomAt(1 / 1.3, view.width / 2, view.height / 2),
  0: fit,
  Enter: () => atMiddle((sample) => showCard(sample, true)),
  " ": () => atMiddle((sample) => choose([sample], !chosen[sample])),
  Escape: hideCard,
};

function atMiddle(act) {
  const sample = sampleAt(view.width / 2, view.height / 2, Infinity);
  if (sample >= 0) act(sample);
}

map.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
  repaint();
});
