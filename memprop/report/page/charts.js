// Charts of lines and points in panels side by side, on a linear or a logarithmic scale.

const PANEL = { height: 306, left: 84, right: 14, top: 14, bottom: 44 };
const widthOf = (chart) => (chart.panels.length === 1 ? 800 : 470);

const SHAPES = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z", "M-4,-4H4V4H-4z", "M0,-5L5,0L0,5L-5,0z",
  "M0,-5L5,4H-5z", "M0,5L5,-4H-5z", "M-5,-1.5H-1.5V-5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5z",
];
const shapeOf = (line) => SHAPES[line.marker % SHAPES.length];

const pointsOf = (chart) => chart.panels.flatMap((panel) => panel.lines.flatMap((line) => line.points));
const valueText = (value, kind) => (kind === "bytes" ? `${formatBytes(value)} (${formatCount(value)} B)` : formatCount(value));

function pointText(chart, panel, line, point) {
  const where = [panel.title, line.name].filter(Boolean).join(", ");
  const short = chart.x.label.replace(/ \(.*/, "");
  const lines = [where, `${short} ${valueText(point.x, chart.x.kind)}: ${valueText(point.y, chart.y.kind)}`, point.note];
  return lines.filter(Boolean).join("\n");
}

// The path of a line: straight from point to point, or in steps that keep the value until the next.
function pathOf(line, x, y) {
  return line.points.map((point, nth) => {
    const step = nth && line.joined === "steps" ? `H${x.at(point.x).toFixed(1)}V` : "";
    return step ? `${step}${y.at(point.y).toFixed(1)}` : `${nth ? "L" : "M"}${x.at(point.x).toFixed(1)},${y.at(point.y).toFixed(1)}`;
  }).join("");
}

function lineElements(line, x, y) {
  const hue = `--hue: ${line.hue}`;
  const dashed = line.joined === "dashed" ? " dashed" : "";
  const joined = line.joined ? [makeSvg("path", { class: `line${dashed}`, style: hue, d: pathOf(line, x, y) })] : [];
  if (line.marker === null) return { joined, marks: [] };
  const hollow = dashed ? " hollow" : "";
  const marks = line.points.map((point) => makeSvg("path", {
    class: `point${hollow}`, style: hue, d: shapeOf(line),
    transform: `translate(${x.at(point.x).toFixed(1)},${y.at(point.y).toFixed(1)})`,
  }));
  return { joined, marks };
}

function axesOf(chart, x, y, first) {
  const { height, left, right, top, bottom } = PANEL;
  const width = widthOf(chart);
  const parts = [];
  for (const tick of y.ticks) {
    const at = y.at(tick);
    parts.push(makeSvg("path", { class: "grid", d: `M${left},${at}H${width - right}` }));
    parts.push(makeSvg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, tickText(tick, chart.y.kind)));
  }
  for (const tick of x.ticks) {
    parts.push(makeSvg("text", { x: x.at(tick), y: height - bottom + 16, "text-anchor": "middle" }, tickText(tick, chart.x.kind)));
  }
  parts.push(makeSvg("path", { class: "axis", d: `M${left},${top}V${height - bottom}H${width - right}` }));
  parts.push(makeSvg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, chart.x.label));
  if (first) {
    const middle = (top + height - bottom) / 2;
    parts.push(makeSvg("text", { transform: `translate(14,${middle}) rotate(-90)`, "text-anchor": "middle" }, chart.y.label));
  }
  return parts;
}

function panelElement(chart, panel, log, nth) {
  const { height, left, right, top, bottom } = PANEL;
  const width = widthOf(chart);
  const all = pointsOf(chart);
  const own = chart.shared_x ? all : panel.lines.flatMap((line) => line.points);
  const x = scaleOf(own.map((point) => point.x), chart.x.kind, log, left, width - right);
  const y = scaleOf(all.map((point) => point.y), chart.y.kind, log, height - bottom, top);
  const drawn = panel.lines.map((line) => lineElements(line, x, y));
  const targets = panel.lines.flatMap((line, place) => drawn[place].marks.map((mark, n) => {
    const point = line.points[n];
    return { mark, point, x: x.at(point.x), y: y.at(point.y), text: pointText(chart, panel, line, point) };
  }));
  const label = `${chart.title}${panel.title ? `, ${panel.title}` : ""}. ${chart.y.label} against ${chart.x.label}, `
    + `${targets.length} points. Arrow keys read them one by one; a table of the values follows.`;
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": label },
    ...axesOf(chart, x, y, nth === 0),
    ...drawn.flatMap((line) => line.joined), ...drawn.flatMap((line) => line.marks));
  return { svg, targets, width };
}

// The pointer shows the nearest point, the arrow keys go from point to point, Enter or a click
// opens its step where the page has it.
function follow({ svg, targets, width }, readout) {
  let chosen = -1;
  const choose = (place) => {
    targets[chosen]?.mark.classList.remove("chosen");
    chosen = place;
    targets[chosen]?.mark.classList.add("chosen");
    readout.textContent = targets[chosen]?.text.replaceAll("\n", "; ") ?? "";
  };
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const far = targets.map((target) => Math.hypot(target.x - x, target.y - y));
    const place = far.indexOf(Math.min(...far));
    return far[place] < 28 ? place : -1;
  };
  svg.addEventListener("pointermove", (event) => {
    choose(nearest(event));
    showHint(targets[chosen]?.text, event.pageX, event.pageY);
  });
  svg.addEventListener("pointerleave", () => { choose(-1); showHint(""); });
  svg.addEventListener("click", (event) => openStep(targets[nearest(event)]?.point.row));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) choose((chosen + step + targets.length) % targets.length);
    if (event.key === "Enter") openStep(targets[chosen]?.point.row);
    if (step) event.preventDefault();
  });
  svg.addEventListener("blur", () => choose(-1));
}

// Show the step of a row of the results in the explorer.
function openStep(row) {
  if (row === undefined || row === null) return;
  document.dispatchEvent(new CustomEvent("open-step", { detail: row }));
}

// A sample of each line; a broken one is known by the whole one of its colour.
function legendOf(chart) {
  const lines = new Map(chart.panels.flatMap((panel) => panel.lines.map((line) => [line.name, line])));
  const whole = new Set([...lines.values()].filter((line) => line.joined !== "dashed").map((line) => line.hue));
  const told = [...lines.values()].filter((line) => line.joined !== "dashed" || !whole.has(line.hue));
  return make("ul", { class: "legend" }, ...told.map((line) => {
    const dashed = line.joined === "dashed";
    const sample = makeSvg("svg", { viewBox: "-13 -6 26 12", "aria-hidden": "true" });
    if (line.joined) sample.append(makeSvg("path", { class: `line${dashed ? " dashed" : ""}`, style: `--hue: ${line.hue}`, d: "M-13,0H13" }));
    if (line.marker !== null) sample.append(makeSvg("path", { class: `point${dashed ? " hollow" : ""}`, style: `--hue: ${line.hue}`, d: shapeOf(line) }));
    return make("li", {}, sample, line.name);
  }));
}

function valuesTable(place, chart) {
  const rows = chart.panels.flatMap((panel) => panel.lines.flatMap((line) =>
    line.points.map((point) => ({ panel: panel.title, line: line.name, ...point }))));
  const columns = [
    ...(chart.panels.length > 1 ? [{ title: "panel", value: (row) => row.panel, className: "text" }] : []),
    { title: "line", value: (row) => row.line, className: "text" },
    { title: chart.x.label, value: (row) => row.x, text: (row) => valueText(row.x, chart.x.kind) },
    { title: chart.y.label, value: (row) => row.y, text: (row) => valueText(row.y, chart.y.kind) },
    { title: "note", value: (row) => row.note, className: "text" },
  ];
  makeTable(place, { columns, rows, label: `the values of ${chart.title}` });
}

function startChart(chart) {
  const figure = document.getElementById(`chart-${chart.name}`);
  const panels = figure.querySelector(".panels");
  const readout = figure.querySelector(".readout");
  panels.classList.toggle("single", chart.panels.length === 1);
  panels.after(legendOf(chart));
  const draw = (log) => {
    const drawn = chart.panels.map((panel, nth) => panelElement(chart, panel, log, nth));
    drawn.forEach((panel) => follow(panel, readout));
    panels.replaceChildren(...drawn.map(({ svg }, nth) =>
      make("div", {}, make("p", { class: "panel-title" }, chart.panels[nth].title), svg)));
    panels.dataset.scale = log ? "log" : "linear";
  };
  for (const input of figure.querySelectorAll(".switch input")) {
    input.addEventListener("change", () => draw(input.value === "log"));
  }
  figure.querySelector("details").addEventListener("toggle", (event) => {
    const place = event.target.querySelector(".values");
    if (event.target.open && !place.firstChild) valuesTable(place, chart);
  });
  draw(figure.querySelector(".switch input:checked").value === "log");
}
