// Which stretch of the step the explorer shows, and on an axis of what.

// Move what is shown no further than an instant needs.
function bringIntoView(event) {
  const { from, to } = state.view;
  const mark = state.ruler.mark(event);
  const margin = state.ruler.least / 16; // of eight events this is half of one
  if (mark < from + margin) setView(mark - margin, mark - margin + to - from);
  else if (mark > to - margin) setView(mark + margin - to + from, mark + margin);
}

// Show the axis from one place to another, no less of it than its ruler allows.
function setView(from, to) {
  const { start, end, least } = state.ruler;
  const length = Math.min(end - start, Math.max(least, to - from));
  const first = Math.max(start, Math.min(end - length, from));
  state.view = { from: first, to: first + length };
  redraw();
}

function zoom(factor) {
  const { from, to } = state.view;
  const [length, middle] = [(to - from) * factor, state.ruler.mark(state.instant)];
  setView(middle - length / 2, middle + length / 2);
}

function showWhole() {
  setView(state.ruler.start, state.ruler.end);
}

// The instant a twentieth of what is shown away, one event at least.
function furtherBy(sign) {
  const { instant, ruler, view } = state;
  const target = ruler.eventOf(ruler.mark(instant) + (sign * (view.to - view.from)) / 20);
  return sign > 0 ? Math.max(instant + 1, target) : Math.min(instant - 1, target);
}

// Count events or measure time on the axis, and show the same events as before.
function setUnit(unit) {
  const { trace, ruler, view } = state;
  if (!trace.times) return;
  state.unit = unit;
  state.ruler = rulerOf(trace, unit);
  const same = viewIn(state.ruler, ruler, view);
  setView(same.from, same.to);
  tellUnit();
}

// What the switch and the texts of the drawings say of the axis.
function tellUnit() {
  const { trace, ruler } = state;
  const timed = trace.times !== null;
  for (const element of document.querySelectorAll(".timed")) element.hidden = !timed;
  byId("unit").querySelector(`[value=${ruler.unit}]`).checked = true;
  const title = byId("step-title").textContent;
  const length = ruler.unit === "time" ? `${formatTime(ruler.end - ruler.start)}, ` : "";
  const along = timed ? `, drawn over ${ruler.unit}` : "";
  byId("timeline").setAttribute("aria-label",
    `Live bytes over the step ${title}${along}: ${length}${trace.count} events, peak ${formatBytes(trace.peak)} at ${operatorAt(trace, trace.peakEvent)}.`);
  byId("lifetimes").setAttribute("aria-label",
    `Lives of the ${trace.rows.length} variables of ${title}${along}; the same as a table below.`);
}
