// What a page holds is started, and drawn again when the colours of the page change.

const redrawAll = [];

for (const chart of page.charts ?? []) startChart(chart);
for (const table of document.querySelectorAll("table.sortable")) sortInPlace(table);

if (page.steps?.length) {
  startExplorer();
  redrawAll.push(drawExplorer);
}

// Two steps one above the other, on one scale of bytes and of events.
for (const canvas of document.querySelectorAll(".pair canvas")) {
  const trace = stepOf(Number(canvas.dataset.step));
  const view = { from: 0, to: page.longest };
  const draw = () => drawTimeline(canvas, { trace, view, top: page.top, hidden: new Set(), instant: null });
  redrawAll.push(draw);
  new ResizeObserver(onFrame(draw)).observe(canvas);
}

// Cells of a map say more where the pointer is.
for (const cell of document.querySelectorAll("[data-hint]")) {
  cell.addEventListener("pointermove", (event) => showHint(cell.dataset.hint, event.pageX, event.pageY));
  cell.addEventListener("pointerleave", () => showHint(""));
}

for (const query of ["(prefers-color-scheme: dark)", "print"]) {
  // At once, not at the next frame: on paper there is none.
  matchMedia(query).addEventListener("change", () => redrawAll.forEach((draw) => draw()));
}

document.body.dataset.ready = "true";
