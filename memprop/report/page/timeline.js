// Live bytes after each event, stacked by category, on a canvas.
//
// At most one rectangle a pixel and category is drawn, however many events there are: of the events
// that fall on one pixel the one with most live bytes is shown, so no peak is ever lost.

// A canvas made as sharp as the screen, empty, and its context in units of CSS pixels.
function freshContext(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  return { context, width, height };
}

// For each pixel the event that is drawn there; equal neighbours are one column.
function columnsOf(total, axis) {
  const columns = [];
  for (let pixel = 0; pixel < axis.room; pixel++) {
    const first = axis.eventAt(axis.left + pixel);
    if (first >= total.length) break;
    const end = Math.min(total.length, Math.max(first + 1, axis.eventAt(axis.left + pixel + 1)));
    let highest = first;
    for (let event = first + 1; event < end; event++) if (total[event] > total[highest]) highest = event;
    const last = columns.at(-1);
    if (last && last.event === highest) last.width += 1;
    else columns.push({ event: highest, x: axis.left + pixel, width: 1 });
  }
  return columns;
}

function drawStack(context, trace, columns, y, hidden, colors) {
  for (const { event, x, width } of columns) {
    let below = 0;
    for (const category of page.stacked) {
      const bytes = hidden.has(category) ? 0 : trace.byCategory[category][event];
      if (!bytes) continue;
      context.fillStyle = colors.categories[category];
      context.fillRect(x, y(below + bytes), width, y(below) - y(below + bytes));
      below += bytes;
    }
  }
}

// The ends of phases, their names where there is room, and a shade over what runs forward again.
function drawPhases(context, trace, columns, axis, bottom, colors) {
  context.fillStyle = colors.quiet;
  context.textAlign = "center";
  for (const { name, from, to } of trace.stretches) {
    const [a, b] = [Math.max(axis.left, axis.at(from)), Math.min(axis.right, axis.at(to))];
    if (b <= axis.left || a >= axis.right) continue;
    if (a > axis.left) context.fillRect(Math.round(a), TIMELINE.top, 1, bottom - TIMELINE.top);
    if (b - a > context.measureText(name).width + 6) context.fillText(name, (a + b) / 2, bottom + 36);
  }
  const backward = trace.stretches.filter(({ name }) => partOf(name) === "backward");
  context.globalAlpha = 0.18;
  context.fillStyle = colors.ink;
  for (const { event, x, width } of columns) {
    const again = partOf(trace.phases[trace.phaseAt[event]]) === "forward"
      && backward.some(({ from, to }) => event >= from && event < to);
    if (again) context.fillRect(x, TIMELINE.top, width, bottom - TIMELINE.top);
  }
  context.globalAlpha = 1;
}

function drawByteAxis(context, top, y, axis, colors) {
  context.textAlign = "right";
  for (const tick of ticksTo(top, "bytes", 4)) {
    context.fillStyle = colors.line;
    context.fillRect(axis.left, Math.round(y(tick)), axis.room, 1);
    context.fillStyle = colors.quiet;
    context.fillText(tickText(tick, "bytes"), axis.left - 8, y(tick) + 4);
  }
}

function drawPeak(context, trace, y, axis, colors) {
  const x = axis.mark(trace.peakEvent);
  if (x < axis.left || x > axis.right) return;
  context.fillStyle = colors.ink;
  context.textAlign = x > (axis.left + axis.right) / 2 ? "right" : "left";
  context.fillText(`peak ${formatBytes(trace.peak)} at ${operatorAt(trace, trace.peakEvent)}`, x, y(trace.peak) - 7);
  context.fillRect(x - 0.5, y(trace.peak) - 4, 1.5, 7);
}

// state: {trace, ruler, view, top, hidden (set of categories), instant, drag ([x, x] or null)}
function drawTimeline(canvas, { trace, ruler, view, top, hidden, instant, drag }) {
  const { context, width, height } = freshContext(canvas);
  const axis = stepAxis(ruler, view, width);
  const colors = theme();
  const bottom = height - TIMELINE.bottom;
  const y = (bytes) => bottom - (bytes / (top * 1.04)) * (bottom - TIMELINE.top);
  const columns = columnsOf(trace.total, axis);
  drawByteAxis(context, top, y, axis, colors);
  drawStack(context, trace, columns, y, hidden, colors);
  drawPhases(context, trace, columns, axis, bottom, colors);
  drawTicks(context, axis, bottom, colors);
  if (!hidden.size) drawPeak(context, trace, y, axis, colors);
  if (instant !== null) drawInstant(context, axis, instant, TIMELINE.top, bottom, colors);
  if (!drag) return;
  context.globalAlpha = 0.25;
  context.fillStyle = colors.accent;
  context.fillRect(Math.min(...drag), TIMELINE.top, Math.abs(drag[1] - drag[0]), bottom - TIMELINE.top);
  context.globalAlpha = 1;
}

// The chosen instant, a line through both canvases.
function drawInstant(context, axis, instant, top, bottom, colors) {
  const x = axis.mark(instant);
  if (x < axis.left || x > axis.right) return;
  context.fillStyle = colors.accent;
  context.fillRect(Math.round(x) - 1, top, 2, bottom - top);
}
