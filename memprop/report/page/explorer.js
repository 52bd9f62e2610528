// The explorer of one step: what is shown, and what changes it.

const byId = (id) => document.getElementById(id);

// All that the explorer shows follows from this.
const state = {
  trace: null, unit: "events", ruler: null, view: { from: 0, to: 1 }, top: 1, hidden: new Set(), instant: null, drag: null,
  alive: "all", order: "birth", layer: "", words: "", rows: [], chosen: null, scroll: 0,
};

const decoded = new Map();
const stepOf = (nth) => {
  if (!decoded.has(nth)) decoded.set(nth, decode(page.steps[nth].trace));
  return decoded.get(nth);
};

function drawExplorer() {
  drawTimeline(byId("timeline"), state);
  drawLifetimes(byId("lifetimes"), state);
}
const redraw = onFrame(drawExplorer);

// Choose the rows again and show them from the top, or from where the chosen one is.
function refilter() {
  state.rows = chosenRows(state.trace, state);
  const bars = byId("bars");
  bars.querySelector(".bars-height").style.height = `${state.rows.length * ROW_HEIGHT}px`;
  state.scroll = Math.min(bars.scrollTop, Math.max(0, state.rows.length * ROW_HEIGHT - bars.clientHeight));
  const bytes = formatBytes(state.rows.reduce((sum, row) => sum + row.bytes, 0));
  byId("counted").textContent = `${state.rows.length} of ${state.trace.rows.length} variables are shown, ${bytes} in all`;
  if (byId("bars-table").open) fillBarsTable();
  redraw();
}

function fillBarsTable() {
  makeTable(byId("bars-rows"), { columns: ROW_COLUMNS, rows: state.rows, pick: choose, search: false, label: "the variables shown" });
}

function choose(row) {
  state.chosen = row;
  showDetails(byId("details"), state.trace, row);
  redraw();
}

// What is live after an event, in words.
function instantText(trace, event) {
  const parts = page.stacked.filter((category) => trace.byCategory[category][event])
    .map((category) => `${spoken(page.categories[category])} ${formatBytes(trace.byCategory[category][event])}`);
  const where = `${trace.phases[trace.phaseAt[event]]}, ${operatorAt(trace, event)}`;
  const peak = event === trace.peakEvent ? ", the peak" : "";
  const when = trace.times ? ` at ${formatTime(trace.times[event])}` : "";
  return `Event ${event} of ${trace.count}${when} (${where})${peak}: ${formatBytes(trace.total[event])} live`
    + (parts.length ? `: ${parts.join(", ")}.` : ".");
}

function setInstant(event) {
  const { trace } = state;
  state.instant = Math.max(0, Math.min(trace.count - 1, event));
  byId("instant").textContent = instantText(trace, state.instant);
  bringIntoView(state.instant);
  if (state.alive === "instant") refilter();
  redraw();
}

// Choose the next or an earlier row and bring it into sight; the first one follows none.
function stepRow(by) {
  const place = state.rows.indexOf(state.chosen);
  const next = Math.max(0, Math.min(state.rows.length - 1, place + by));
  if (!state.rows[next]) return;
  const bars = byId("bars");
  const y = next * ROW_HEIGHT;
  if (y < bars.scrollTop) bars.scrollTop = y;
  if (y + ROW_HEIGHT > bars.scrollTop + bars.clientHeight) bars.scrollTop = y + ROW_HEIGHT - bars.clientHeight;
  state.scroll = bars.scrollTop;
  choose(state.rows[next]);
}

function showStep(nth) {
  const trace = stepOf(nth);
  Object.assign(state, { trace, top: page.top ?? trace.peak, chosen: null, scroll: 0, layer: "" });
  state.ruler = rulerOf(trace, state.unit);
  state.view = wholeOf(state.ruler);
  byId("step").value = String(nth);
  byId("bars").scrollTop = 0;
  fillLayers(trace);
  byId("step-title").textContent = page.steps[nth].title;
  tellUnit();
  const cached = trace.rows.filter((row) => row.cached);
  makeTable(byId("cached"), { columns: cachedColumns(trace), rows: cached, pick: choose, label: "the cached intermediates" });
  choose(null);
  setInstant(trace.peakEvent);
  refilter();
}

function fillLayers(trace) {
  const layers = [...new Set(trace.rows.map((row) => String(row.layer ?? "none")))];
  layers.sort(comparing((name) => (name === "none" ? null : Number(name)), 1));
  byId("layer").replaceChildren(make("option", { value: "" }, "every layer"),
    ...layers.map((name) => make("option", { value: name }, name === "none" ? "none" : `layer ${name}`)));
}

// The steps in groups, in the order in which they come.
function fillSteps() {
  const groups = new Map();
  page.steps.forEach((step, nth) => {
    if (!groups.has(step.group)) groups.set(step.group, []);
    groups.get(step.group).push(make("option", { value: nth }, step.label));
  });
  byId("step").append(...[...groups].flatMap(([name, options]) =>
    (name ? [make("optgroup", { label: name }, ...options)] : options)));
  const alone = page.steps.length === 1;
  byId("step").parentElement.hidden = alone;
  byId("step-title").hidden = alone;
}

function fillCategories() {
  byId("categories").append(...page.stacked.map((category) => {
    const name = page.categories[category];
    const chip = make("button", { type: "button", "aria-pressed": "true", style: `--swatch: var(--${name})` }, spoken(name));
    chip.addEventListener("click", () => {
      if (!state.hidden.delete(category)) state.hidden.add(category);
      chip.setAttribute("aria-pressed", String(!state.hidden.has(category)));
      refilter();
    });
    return chip;
  }));
}

function startExplorer() {
  fillSteps();
  fillCategories();
  listenToControls();
  listenToTimeline();
  listenToBars();
  listenToKeys();
  new ResizeObserver(redraw).observe(byId("timeline"));
  showStep(page.first ?? 0);
}
