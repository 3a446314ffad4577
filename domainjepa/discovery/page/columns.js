// Columns: what points are coloured and filtered by.

const columns = facts.columns.map((told) => {
  const column = { name: told.name, kind: told.kind };
  if (told.kind === "categories") {
    column.names = told.names;
    column.codes = unpacked(told.codes, "i4");
    column.counts = new Int32Array(told.names.length);
    for (const code of column.codes) column.counts[code] += 1;
    // The most frequent categories have the colours that are easiest to tell apart.
    column.order = [...told.names.keys()].sort((a, b) => column.counts[b] - column.counts[a] || a - b);
    column.colours = new Array(told.names.length);
    column.order.forEach((code, at) => {
      column.colours[code] = told.names[code] === "" ? NONE : categoryColour(at);
    });
    column.off = new Set();
  } else if (told.kind === "numbers") {
    column.values = unpacked(told.values, told.type);
    const known = Float64Array.from(column.values.filter((value) => Number.isFinite(value))).sort();
    column.least = known.length ? known[0] : 0;
    column.most = known.length ? known[known.length - 1] : 0;
    // Few far values would leave one colour to all others.
    column.low = known.length ? known[Math.floor(0.01 * (known.length - 1))] : 0;
    column.high = known.length ? known[Math.ceil(0.99 * (known.length - 1))] : 0;
    column.from = null;
    column.to = null;
  } else {
    column.values = told.values;
  }
  return column;
});

function isNumber(value) {
  return Number.isFinite(value);
}

function numberText(value) {
  if (!isNumber(value)) return "";
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

function valueText(column, sample) {
  if (column.kind === "categories") return column.names[column.codes[sample]];
  if (column.kind === "numbers") return numberText(column.values[sample]);
  return column.values[sample];
}

function colourBy(column) {
  if (!column) {
    colours.fill(packedColour(FIRST[0]));
  } else if (column.kind === "categories") {
    const packed = column.colours.map(packedColour);
    for (let sample = 0; sample < N; sample += 1) colours[sample] = packed[column.codes[sample]];
  } else {
    const span = column.high - column.low || 1;
    for (let sample = 0; sample < N; sample += 1) {
      const value = column.values[sample];
      const share = Math.min(Math.max((value - column.low) / span, 0), 1);
      colours[sample] = isNumber(value) ? RAMP[Math.round(255 * share)] : NONE_PACKED;
    }
  }
}

function filter() {
  passes.fill(1);
  for (const column of columns) {
    if (column.kind === "categories" && column.off.size) {
      for (let sample = 0; sample < N; sample += 1) {
        if (column.off.has(column.codes[sample])) passes[sample] = 0;
      }
    }
    if (column.kind === "numbers" && (column.from !== null || column.to !== null)) {
      const from = column.from ?? -Infinity;
      const to = column.to ?? Infinity;
      for (let sample = 0; sample < N; sample += 1) {
        const value = column.values[sample];
        if (!(value >= from && value <= to)) passes[sample] = 0;
      }
    }
  }
}

function unfilter() {
  for (const column of columns) {
    if (column.kind === "categories") column.off.clear();
    if (column.kind === "numbers") {
      column.from = null;
      column.to = null;
    }
  }
  filter();
}
