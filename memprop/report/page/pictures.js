// Figures of the report: the pointer and the arrow keys read the values of their points, a click or
// Enter opens the step that a point stands for.

function startPicture(figure) {
  const readout = figure.querySelector(".readout");
  const points = [...figure.querySelectorAll("[data-hint]")];
  let chosen = -1;
  const choose = (place) => {
    points[chosen]?.classList.remove("chosen");
    chosen = place;
    points[chosen]?.classList.add("chosen");
    readout.textContent = points[chosen]?.dataset.hint.replaceAll("\n", "; ") ?? "";
  };
  points.forEach((point, place) => {
    point.addEventListener("pointermove", (event) => {
      choose(place);
      showHint(point.dataset.hint, event.pageX, event.pageY);
    });
    point.addEventListener("pointerleave", () => { choose(-1); showHint(""); });
    point.addEventListener("click", () => openStep(point.dataset.row));
  });
  const svg = figure.querySelector("svg");
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step && points.length) {
      choose((chosen + step + points.length) % points.length);
      event.preventDefault();
    }
    if (event.key === "Enter") openStep(points[chosen]?.dataset.row);
  });
  svg.addEventListener("blur", () => choose(-1));
}

// Show the step of a row of the results in the explorer.
function openStep(row) {
  if (row === undefined) return;
  document.dispatchEvent(new CustomEvent("open-step", { detail: Number(row) }));
}
