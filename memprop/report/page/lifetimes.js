// A bar for each life of each variable, on the axis of the timeline; only rows in sight are drawn.

const ROW_HEIGHT = 18;

// A name that fits into `room` pixels, cut at its end.
function cutTo(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let length = Math.floor((text.length * room) / context.measureText(text).width);
  while (length > 1 && context.measureText(`${text.slice(0, length)}\u2026`).width > room) length -= 1;
  return `${text.slice(0, length)}\u2026`;
}

function drawLabel(context, row, y, axis, colors) {
  const size = formatBytes(row.bytes);
  context.fillStyle = colors.quiet;
  context.textAlign = "right";
  context.fillText(size, axis.left - 8, y + 13);
  context.fillStyle = colors.ink;
  context.textAlign = "left";
  const room = axis.left - 20 - context.measureText(size).width;
  if (room > 12) context.fillText(cutTo(context, row.name, room), 4, y + 13);
}

// One that is computed again has several bars; those in which backward does not read it are pale.
function drawLives(context, row, y, axis, colors) {
  for (const life of row.lives) {
    const [a, b] = [Math.max(axis.left, axis.at(life.born)), Math.min(axis.right, axis.at(life.freed))];
    if (b < axis.left || a > axis.right) continue;
    context.globalAlpha = row.lives.length > 1 && !life.reuses.length ? 0.4 : 1;
    context.fillStyle = colors.categories[row.category];
    context.fillRect(a, y + 3, Math.max(1, b - a), ROW_HEIGHT - 6);
    context.globalAlpha = 1;
    if (row.cached) drawReuses(context, life, y, axis, colors);
  }
}

function drawReuses(context, life, y, axis, colors) {
  let before = -2;
  for (const event of life.reuses) {
    const x = Math.round(axis.mark(event));
    if (x < axis.left || x > axis.right || x - before < 2) continue;
    before = x;
    context.fillStyle = colors.paper;
    context.fillRect(x - 2, y + 1, 4, ROW_HEIGHT - 2);
    context.fillStyle = colors.ink;
    context.fillRect(x - 1, y + 1, 2, ROW_HEIGHT - 2);
  }
}

// state: {rows, ruler, view, instant, chosen (a row or null), scroll (pixels)}
function drawLifetimes(canvas, { rows, ruler, view, instant, chosen, scroll }) {
  const { context, width, height } = freshContext(canvas);
  const axis = stepAxis(ruler, view, width);
  const colors = theme();
  const first = Math.floor(scroll / ROW_HEIGHT);
  const end = Math.min(rows.length, Math.ceil((scroll + height) / ROW_HEIGHT));
  for (let place = first; place < end; place++) {
    const y = place * ROW_HEIGHT - scroll;
    if (rows[place] === chosen) markRow(context, y, width, colors);
    drawLabel(context, rows[place], y, axis, colors);
    drawLives(context, rows[place], y, axis, colors);
  }
  context.fillStyle = colors.line;
  context.fillRect(axis.left, 0, 1, height);
  if (instant !== null) drawInstant(context, axis, instant, 0, height, colors);
}

function markRow(context, y, width, colors) {
  context.globalAlpha = 0.2;
  context.fillStyle = colors.accent;
  context.fillRect(0, y, width, ROW_HEIGHT);
  context.globalAlpha = 1;
}

// The row under a point of the canvas, and what is said of it there.
function rowUnder(rows, scroll, y) {
  return rows[Math.floor((y + scroll) / ROW_HEIGHT)] ?? null;
}
