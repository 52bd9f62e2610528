// What a page holds is started, and drawn again when the colours of the page change.

const redrawAll = [];

for (const figure of document.querySelectorAll("figure.picture")) startPicture(figure);
for (const table of document.querySelectorAll("table.sortable")) sortInPlace(table);

if (page.steps?.length) {
  startExplorer();
  redrawAll.push(drawExplorer);
}

if (document.querySelector(".pair")) redrawAll.push(startPair());

for (const query of ["(prefers-color-scheme: dark)", "print"]) {
  // At once, not at the next frame: on paper there is none.
  matchMedia(query).addEventListener("change", () => redrawAll.forEach((draw) => draw()));
}

document.body.dataset.ready = "true";
