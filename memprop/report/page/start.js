// What a page holds is started, and drawn again when the colours of the page change.

const redrawAll = [];

for (const chart of page.charts ?? []) startChart(chart);
for (const table of document.querySelectorAll("table.sortable")) sortInPlace(table);

if (page.steps?.length) {
  startExplorer();
  redrawAll.push(drawExplorer);
}

if (document.querySelector(".pair")) redrawAll.push(startPair());

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
