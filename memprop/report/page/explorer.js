// The explorer of one step: what is shown, and what a click, a drag or a key changes of it.

const byId = (id) => document.getElementById(id);

// All that the explorer shows follows from this.
const state = {
  trace: null, view: { from: 0, to: 1 }, top: 1, hidden: new Set(), instant: null, drag: null,
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
  return `Event ${event} of ${trace.count} (${where})${peak}: ${formatBytes(trace.total[event])} live`
    + (parts.length ? `: ${parts.join(", ")}.` : ".");
}

function setInstant(event) {
  const { trace, view } = state;
  state.instant = Math.max(0, Math.min(trace.count - 1, event));
  byId("instant").textContent = instantText(trace, state.instant);
  if (state.instant < view.from) setView(state.instant, state.instant + view.to - view.from);
  else if (state.instant >= view.to) setView(state.instant + 1 - view.to + view.from, state.instant + 1);
  if (state.alive === "instant") refilter();
  redraw();
}

// Show the events from one to another, at least eight of them.
function setView(from, to) {
  const length = Math.min(state.trace.count, Math.max(8, to - from));
  const start = Math.max(0, Math.min(state.trace.count - length, from));
  state.view = { from: start, to: start + length };
  redraw();
}

function zoom(factor) {
  const { from, to } = state.view;
  const [length, middle] = [(to - from) * factor, state.instant ?? (from + to) / 2];
  setView(middle - length / 2, middle + length / 2);
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
  state.view = { from: 0, to: trace.count };
  byId("step").value = String(nth);
  byId("bars").scrollTop = 0;
  fillLayers(trace);
  const title = page.steps[nth].title;
  byId("step-title").textContent = title;
  byId("timeline").setAttribute("aria-label",
    `Live bytes over the step ${title}: ${trace.count} events, peak ${formatBytes(trace.peak)} at ${operatorAt(trace, trace.peakEvent)}.`);
  byId("lifetimes").setAttribute("aria-label", `Lives of the ${trace.rows.length} variables of ${title}; the same as a table below.`);
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

// Pointer on the timeline: a click chooses an instant, a drag zooms.
function listenToTimeline() {
  const canvas = byId("timeline");
  const axis = () => eventAxis(state.view, canvas.clientWidth);
  let start = null;
  canvas.addEventListener("pointerdown", (event) => { start = event.offsetX; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    const at = axis().eventAt(event.offsetX);
    const inside = at >= 0 && at < state.trace.count && event.offsetX >= axis().left;
    showHint(inside ? instantText(state.trace, at) : "", event.pageX, event.pageY);
    if (start === null || Math.abs(event.offsetX - start) < 5) return;
    state.drag = [start, event.offsetX];
    redraw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const ends = [start, event.offsetX].sort((a, b) => a - b).map(axis().eventAt);
    if (state.drag) setView(ends[0], ends[1] + 1);
    else setInstant(axis().eventAt(event.offsetX));
    [start, state.drag] = [null, null];
    redraw();
  });
  canvas.addEventListener("pointercancel", () => { [start, state.drag] = [null, null]; redraw(); });
  canvas.addEventListener("pointerleave", () => showHint(""));
}

function listenToBars() {
  const [bars, canvas] = [byId("bars"), byId("lifetimes")];
  bars.addEventListener("scroll", () => { state.scroll = bars.scrollTop; redraw(); });
  canvas.addEventListener("click", (event) => choose(rowUnder(state.rows, state.scroll, event.offsetY)));
  canvas.addEventListener("pointermove", (event) => {
    const row = rowUnder(state.rows, state.scroll, event.offsetY);
    const text = row && `${row.name}: ${formatBytes(row.bytes)}, ${spoken(page.categories[row.category])}\nalive ${listed(livesText(row), 3)}`;
    showHint(text, event.pageX, event.pageY);
  });
  canvas.addEventListener("pointerleave", () => showHint(""));
}

function listenToKeys() {
  const rowsInSight = () => Math.floor(byId("bars").clientHeight / ROW_HEIGHT);
  const further = () => Math.max(1, Math.round((state.view.to - state.view.from) / 20));
  const actions = {
    ArrowLeft: (event) => setInstant(state.instant - (event.shiftKey ? further() : 1)),
    ArrowRight: (event) => setInstant(state.instant + (event.shiftKey ? further() : 1)),
    ArrowUp: () => stepRow(-1), ArrowDown: () => stepRow(1),
    PageUp: () => stepRow(-rowsInSight()), PageDown: () => stepRow(rowsInSight()),
    Home: () => stepRow(-state.rows.length), End: () => stepRow(state.rows.length),
    p: () => setInstant(state.trace.peakEvent), P: () => setInstant(state.trace.peakEvent),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => setView(0, state.trace.count),
  };
  for (const id of ["timeline", "lifetimes"]) {
    byId(id).addEventListener("keydown", (event) => {
      if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      actions[event.key](event);
    });
  }
}

function listenToControls() {
  const follow = (id, name) => byId(id).addEventListener("input", () => { state[name] = byId(id).value; refilter(); });
  follow("sort", "order");
  follow("alive", "alive");
  follow("layer", "layer");
  byId("find").addEventListener("input", () => { state.words = byId("find").value.trim().toLowerCase(); refilter(); });
  byId("step").addEventListener("input", () => showStep(Number(byId("step").value)));
  byId("to-peak").addEventListener("click", () => setInstant(state.trace.peakEvent));
  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("whole").addEventListener("click", () => setView(0, state.trace.count));
  byId("bars-table").addEventListener("toggle", () => byId("bars-table").open && fillBarsTable());
  document.addEventListener("open-step", ({ detail }) => {
    const nth = page.steps.findIndex((step) => step.row === detail);
    if (nth < 0) return;
    showStep(nth);
    byId("explorer").scrollIntoView();
  });
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
