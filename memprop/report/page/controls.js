// What a click, a drag, a key or a control changes of the explorer.

// Pointer on the timeline: a click chooses an instant, a drag zooms.
function listenToTimeline() {
  const canvas = byId("timeline");
  const axis = () => stepAxis(state.ruler, state.view, canvas.clientWidth);
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
    if (state.drag) setView(...[start, event.offsetX].sort((a, b) => a - b).map(axis().placeAt));
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
  const switchUnit = () => setUnit(state.unit === "time" ? "events" : "time");
  const rowsInSight = () => Math.floor(byId("bars").clientHeight / ROW_HEIGHT);
  const actions = {
    ArrowLeft: (event) => setInstant(event.shiftKey ? furtherBy(-1) : state.instant - 1),
    ArrowRight: (event) => setInstant(event.shiftKey ? furtherBy(1) : state.instant + 1),
    ArrowUp: () => stepRow(-1), ArrowDown: () => stepRow(1),
    PageUp: () => stepRow(-rowsInSight()), PageDown: () => stepRow(rowsInSight()),
    Home: () => stepRow(-state.rows.length), End: () => stepRow(state.rows.length),
    p: () => setInstant(state.trace.peakEvent), P: () => setInstant(state.trace.peakEvent),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: showWhole,
    t: switchUnit, T: switchUnit,
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
  byId("whole").addEventListener("click", showWhole);
  byId("unit").addEventListener("input", (event) => setUnit(event.target.value));
  byId("bars-table").addEventListener("toggle", () => byId("bars-table").open && fillBarsTable());
  document.addEventListener("open-step", ({ detail }) => {
    const nth = page.steps.findIndex((step) => step.row === detail);
    if (nth < 0) return;
    showStep(nth);
    byId("explorer").scrollIntoView();
  });
}
