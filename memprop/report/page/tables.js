// Tables that are sorted by their headings and searched; long ones are shown in parts.

const ROWS_AT_ONCE = 100;

// Numbers before texts, missing ones last, whichever way it goes.
function comparing(value, sign) {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    const gone = (v) => v === null || v === undefined || v === "" || v === "-";
    if (gone(x) || gone(y)) return gone(x) - gone(y);
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * String(x).localeCompare(String(y), "en", { numeric: true });
  };
}

// A heading that sorts: a button in it, and aria-sort on it.
function headingOf(text, sort) {
  const heading = make("th", { scope: "col" });
  const button = make("button", { type: "button" }, text);
  heading.append(button);
  button.addEventListener("click", () => {
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    sort(sign);
  });
  return heading;
}

// A table made of rows of data.
// columns: {title, value(row), text(row)?, className?}; pick(row) is called for the chosen row.
function makeTable(place, { columns, rows, pick = null, search = true, label }) {
  let [sorted, shown, words] = [rows, ROWS_AT_ONCE, ""];
  const textOf = (column, row) => String((column.text ?? column.value)(row) ?? "-");
  const searched = new WeakMap();
  const wordsOf = (row) => {
    if (!searched.has(row)) searched.set(row, columns.map((column) => textOf(column, row)).join("\n").toLowerCase());
    return searched.get(row);
  };
  const body = make("tbody");
  const counted = make("span", { class: "note", "aria-live": "polite" });
  const more = make("button", { type: "button", class: "more" }, `Show ${ROWS_AT_ONCE} more`);

  const found = () => (words ? sorted.filter((row) => wordsOf(row).includes(words)) : sorted);

  function fill() {
    const rowsFound = found();
    body.replaceChildren(...rowsFound.slice(0, shown).map((row) => rowElement(row, columns, textOf, pick)));
    counted.textContent = `${Math.min(shown, rowsFound.length)} of ${rowsFound.length} rows`;
    more.hidden = rowsFound.length <= shown;
  }

  const headings = columns.map((column) => headingOf(column.title, (sign) => {
    sorted = [...sorted].sort(comparing(column.value, sign));
    fill();
  }));
  const input = make("input", { type: "search", "aria-label": `Search in ${label}`, placeholder: "search" });
  input.addEventListener("input", () => { words = input.value.trim().toLowerCase(); shown = ROWS_AT_ONCE; fill(); });
  more.addEventListener("click", () => { shown += ROWS_AT_ONCE; fill(); });
  columns.forEach((column, nth) => column.className && headings[nth].classList.add(column.className));
  const table = make("table", { "aria-label": label }, make("thead", {}, make("tr", {}, ...headings)), body);
  const head = make("div", { class: "table-head" }, ...(search ? [input] : []), counted);
  place.replaceChildren(head, make("div", { class: "scroll" }, table), more);
  fill();
}

// A row; its first cell is a button where rows can be chosen, so that the keyboard gets there.
function rowElement(row, columns, textOf, pick) {
  const cells = columns.map((column, nth) => {
    const text = textOf(column, row);
    const cell = make("td", column.className ? { class: column.className } : {});
    if (!pick || nth > 0) return cell.append(text), cell;
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", () => pick(row));
    return cell.append(button), cell;
  });
  return make("tr", {}, ...cells);
}

// The number that a cell of a table from the template stands for, or its text.
function cellValue(text) {
  const sizes = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 };
  const found = text.trim().replaceAll(",", "").match(/^([+-]?\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB|%)?(?:\s|$)/);
  return found ? Number(found[1]) * (sizes[found[2]] ?? 1) : text.trim();
}

// Make a table that the template wrote sortable in place.
function sortInPlace(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((cell, nth) => {
    cell.replaceWith(headingOf(cell.textContent, (sign) => {
      const value = (row) => cellValue(row.cells[nth].textContent);
      body.replaceChildren(...[...body.rows].sort(comparing(value, sign)));
    }));
  });
}
