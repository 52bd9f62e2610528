// Numbers as people read them, and elements whose text is only ever text.

const page = JSON.parse(document.getElementById("data").textContent);

// A size in the IEC unit that keeps it between 1 and 1024, as memprop.units.format_bytes.
function formatBytes(bytes) {
  let size = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(size) < 1024) return unit === "B" ? `${Math.round(size)} B` : `${size.toFixed(1)} ${unit}`;
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}

// Nanoseconds in the unit that keeps them between 1 and 1000, with four digits.
function formatTime(nanoseconds) {
  const { size, name } = timeUnit(nanoseconds);
  return `${Number((nanoseconds / size).toPrecision(4))} ${name}`;
}

const TIME_UNITS = [["s", 1e9], ["ms", 1e6], ["us", 1e3], ["ns", 1]].map(([name, size]) => ({ name, size }));
const timeUnit = (nanoseconds) => TIME_UNITS.find(({ size }) => nanoseconds >= size) ?? TIME_UNITS.at(-1);

function formatCount(number) {
  return number.toLocaleString("en-US", { maximumFractionDigits: 2 });
}

const spoken = (name) => name.replaceAll("_", " ");

// An element with attributes and children. Strings become text nodes: names are the user's, and
// nothing in them is ever read as HTML.
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// The colours that the style sheet has just now: they differ in the light, in the dark, on paper.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: read("ink"), quiet: read("quiet"), paper: read("paper"), line: read("line"),
    accent: read("accent"), categories: page.categories.map(read),
  };
}

// Call `draw` at the next frame, once, however often it is asked for until then.
function onFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}

// A line of text beside the pointer, or none.
function showHint(text, pageX, pageY) {
  const hint = document.getElementById("hint");
  hint.hidden = !text;
  if (!text) return;
  hint.textContent = text;
  const room = document.documentElement.clientWidth - hint.offsetWidth - 12;
  hint.style.left = `${Math.max(4, Math.min(pageX + 14, room))}px`;
  hint.style.top = `${pageY + 16}px`;
}
