// Where everything is put together.

function on(id, what, act) {
  document.getElementById(id).addEventListener(what, act);
}

on("closer", "click", () => (zoomAt(1.5, view.width / 2, view.height / 2), repaint()));
on("further", "click", () => (zoomAt(1 / 1.5, view.width / 2, view.height / 2), repaint()));
on("whole", "click", () => (fit(), repaint()));
on("pictures", "change", repaint);
on("lasso", "click", () => {
  lassoButton.setAttribute("aria-pressed", String(lassoButton.getAttribute("aria-pressed") !== "true"));
});
on("colour", "change", (event) => setColour(Number(event.target.value)));
on("unfilter", "click", () => {
  unfilter();
  tellLegend();
  filtered();
});
on("choose-view", "click", () => choose(samplesWhere((sample) => passes[sample] && isInView(sample)), true));
on("choose-all", "click", () => choose(samplesWhere((sample) => passes[sample]), true));
on("clear", "click", () => choose(samplesWhere((sample) => chosen[sample]), false));
on("save", "click", save);
on("take", "click", () => choose([marked.card], !chosen[marked.card]));
on("close", "click", () => {
  hideCard();
  map.focus();
});
on("before", "click", () => tellList(page - 1));
on("after", "click", () => tellList(page + 1));
on("search", "input", (event) => find(event.target.value));
on("search", "keydown", (event) => {
  if (event.key !== "Enter") return;
  const [first] = find(event.target.value);
  if (first !== undefined) goTo(first);
});
on("theme", "click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const root = document.documentElement;
  const now = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  readTheme();
  repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readTheme();
  repaint();
});
map.addEventListener("focus", repaint);
map.addEventListener("blur", repaint);
new ResizeObserver(() => {
  measure();
  repaint();
}).observe(map);

whenReady = repaint;
readTheme();
measure();
fit();
fillColours();
tellChosen();
// The first frame is painted before the one after it is asked for; the list's pictures wait for it.
requestAnimationFrame(() => requestAnimationFrame(() => {
  document.documentElement.dataset.ready = performance.now().toFixed(0);
  tellList(0);
}));
