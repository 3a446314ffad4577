// Which samples are chosen, the list of them, and the CSV.

const PAGE = 20;
let listed = [];
let page = 0;

function samplesWhere(test) {
  const found = [];
  for (let sample = 0; sample < N; sample += 1) if (test(sample)) found.push(sample);
  return found;
}

function choose(samples, on) {
  for (const sample of samples) chosen[sample] = on ? 1 : 0;
  tellChosen();
  tellTaken();
  tellList(0);
  repaint();
}

function tellChosen() {
  const shown = passes.reduce((sum, one) => sum + one, 0);
  const count = chosen.reduce((sum, one) => sum + one, 0);
  document.getElementById("status").textContent =
    `${counted(shown, "sample", "samples")} of ${N.toLocaleString("en")} shown, ${count.toLocaleString("en")} chosen`;
  document.getElementById("save").disabled = count === 0;
}

// The chosen samples, or all that pass the filters where none is chosen: a page of them.
function tellList(at) {
  const some = chosen.includes(1);
  listed = samplesWhere((sample) => (some ? chosen[sample] : passes[sample]) === 1);
  page = Math.max(0, Math.min(at, Math.ceil(listed.length / PAGE) - 1));
  document.getElementById("list-name").textContent = some ? "Chosen samples" : "Samples shown";
  const lines = document.getElementById("lines");
  lines.replaceChildren();
  for (const sample of listed.slice(page * PAGE, (page + 1) * PAGE)) lines.append(lineOf(sample));
  const first = listed.length ? page * PAGE + 1 : 0;
  const last = Math.min((page + 1) * PAGE, listed.length);
  document.getElementById("which").textContent =
    `${first.toLocaleString("en")} to ${last.toLocaleString("en")} of ${listed.length.toLocaleString("en")}`;
  document.getElementById("before").disabled = page === 0;
  document.getElementById("after").disabled = last >= listed.length;
}

function lineOf(sample) {
  const button = element("button");
  button.type = "button";
  const told = columns.length && columns[0].name === "class" ? ` · ${valueText(columns[0], sample) || "no class"}` : "";
  button.append(smallPicture(sample, 32), element("span", `${nameOf(sample)}${told}`));
  button.addEventListener("click", () => goTo(sample));
  const line = element("li");
  line.append(button);
  return line;
}

function cell(text) {
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function chosenAsCsv() {
  const lines = [facts.ids ? "row,id" : "row"];
  for (const sample of samplesWhere((one) => chosen[one] === 1)) {
    lines.push(facts.ids ? `${ROWS[sample]},${cell(facts.ids[sample])}` : String(ROWS[sample]));
  }
  return `${lines.join("\n")}\n`;
}

function save() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([chosenAsCsv()], { type: "text/csv" }));
  link.download = "chosen.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function find(text) {
  const wanted = text.trim().toLowerCase();
  const hits = document.getElementById("hits");
  hits.replaceChildren();
  if (!wanted) return [];
  const found = [];
  for (let sample = 0; sample < N && found.length < 200; sample += 1) {
    const id = facts.ids ? facts.ids[sample].toLowerCase() : "";
    if (String(ROWS[sample]) === wanted || id === wanted) found.unshift(sample);
    else if (id.includes(wanted)) found.push(sample);
  }
  for (const sample of found.slice(0, 8)) hits.append(lineOf(sample));
  if (!found.length) hits.append(element("li", "nothing of that id or row"));
  return found;
}
