// Which variables are shown, in which order, and what is said of one of them.

const ORDERS = {
  birth: (a, b) => a.born - b.born,
  size: (a, b) => b.bytes - a.bytes || a.born - b.born,
  lifetime: (a, b) => b.lifetime - a.lifetime || a.born - b.born,
};

// filter: {alive ("all", "peak", "instant"), instant, hidden (set of categories), layer, words, order}
function chosenRows(trace, filter) {
  const at = { all: null, peak: trace.peakEvent, instant: filter.instant }[filter.alive];
  return trace.rows.filter((row) =>
    !filter.hidden.has(row.category)
    && (filter.layer === "" || String(row.layer ?? "none") === filter.layer)
    && (!filter.words || row.name.toLowerCase().includes(filter.words))
    && (at === null || lifeAt(row, at) !== null)).sort(ORDERS[filter.order]);
}

const makerOf = (trace, row) => {
  const operator = trace.operatorAt[row.lives[0].born];
  return operator < 0 ? "input" : trace.operators[operator];
};
const readersOf = (trace, row) => row.lives.flatMap((life) => life.reads.map((event) => operatorAt(trace, event)));
const reusersOf = (trace, row) => row.lives.flatMap((life) => life.reuses.map((event) => operatorAt(trace, event)));
const lastReadOf = (row) => Math.max(...row.lives.map((life) => life.reads.at(-1) ?? -1));
const freedOf = (row) => (row.lives.at(-1).outlasts ? null : row.lives.at(-1).freed);

// The names, those that are many cut short.
function listed(names, most = 16, none = "nothing") {
  const more = names.length > most ? ` and ${names.length - most} more` : "";
  return names.slice(0, most).join(", ") + more || none;
}

// Other variables that live in the same buffer at some time.
function sharingWith(trace, row) {
  const storages = new Set(row.lives.map((life) => life.storage));
  const others = trace.rows.filter((other) => other !== row && other.lives.some((life) => storages.has(life.storage)));
  return others.map((other) => other.name);
}

const livesText = (row) => row.lives.map((life) =>
  `${life.born} to ${life.outlasts ? "after the step" : life.freed}`);

function aliveText(trace, row) {
  const events = `${formatCount(row.lifetime)} of ${formatCount(trace.count)} events`;
  if (!trace.times) return events;
  const alive = row.lives.reduce((sum, life) => sum + trace.times[life.freed] - trace.times[life.born], 0);
  return `${events}, ${formatTime(alive)}`;
}

// All that is known of a variable, as pairs of name and text.
function factsOf(trace, row) {
  const reads = readersOf(trace, row);
  const shared = sharingWith(trace, row);
  return [
    ["category", spoken(page.categories[row.category])],
    ["made by", makerOf(trace, row)],
    ["layer", row.layer ?? "none"],
    ["shape", `${row.shape || "a single number"}, ${row.dtype}`],
    ["bytes", `${formatCount(row.bytes)} (${formatBytes(row.bytes)})`],
    ["born at event", formatCount(row.born)],
    ["freed at event", freedOf(row) === null ? "outlives the step" : formatCount(freedOf(row))],
    ["alive for", aliveText(trace, row)],
    ...(row.lives.length > 1 ? [["lives", listed(livesText(row))]] : []),
    [`read by (${reads.length})`, listed(reads)],
    ...(row.cached ? [[`reused by backward (${reusersOf(trace, row).length})`, listed(reusersOf(trace, row))]] : []),
    ...(shared.length ? [["lives in the buffer of", listed(shared)]] : []),
    ...(row.site ? [["made at", row.site]] : []),
    ...(row.line ? [["line", row.line]] : []),
  ];
}

function showDetails(place, trace, row) {
  if (!row) {
    place.replaceChildren(make("p", { class: "note" }, "Click a bar, or choose one with the arrow keys, to see its variable."));
    return;
  }
  const facts = factsOf(trace, row).map(([name, text]) =>
    make("div", String(text).length > 40 ? { class: "whole-row" } : {}, make("dt", {}, name), make("dd", {}, String(text))));
  place.replaceChildren(make("h3", {}, row.name), make("dl", {}, ...facts));
}

const ROW_COLUMNS = [
  { title: "variable", value: (row) => row.name, className: "text" },
  { title: "category", value: (row) => spoken(page.categories[row.category]), className: "text" },
  { title: "layer", value: (row) => row.layer },
  { title: "shape", value: (row) => row.shape },
  { title: "bytes", value: (row) => row.bytes, text: (row) => formatCount(row.bytes) },
  { title: "born", value: (row) => row.born },
  { title: "freed", value: freedOf },
  { title: "alive for", value: (row) => row.lifetime },
];

// The columns of the table of cached intermediates, as those of trace.intermediates().
function cachedColumns(trace) {
  return [
    ROW_COLUMNS[0], ROW_COLUMNS[2], ROW_COLUMNS[3], ROW_COLUMNS[4],
    { title: "saved by", value: (row) => makerOf(trace, row), className: "text" },
    { title: "reuses", value: (row) => reusersOf(trace, row).length },
    { title: "reused by", value: (row) => listed(reusersOf(trace, row), 6, "never read"), className: "wrap" },
    ROW_COLUMNS[5],
    { title: "last read", value: lastReadOf },
    ROW_COLUMNS[6],
    { title: "recomputed", value: (row) => (row.recomputed ? "yes" : "no") },
  ];
}
