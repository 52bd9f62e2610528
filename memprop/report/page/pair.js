// Two steps one above the other, on one scale of bytes, and of events or of time.

// Show the two, and return what draws them again.
function startPair() {
  const canvases = [...document.querySelectorAll(".pair canvas")];
  const traces = canvases.map((canvas) => stepOf(Number(canvas.dataset.step)));
  const choice = byId("pair-unit");
  choice.hidden = traces.some((trace) => !trace.times);
  const unit = () => choice.querySelector(":checked").value;
  const draw = () => drawPair(canvases, traces, unit());
  choice.addEventListener("input", onFrame(draw));
  canvases.forEach((canvas) => new ResizeObserver(onFrame(draw)).observe(canvas));
  return draw;
}

// Each from its own beginning, as long as the longer one.
function drawPair(canvases, traces, unit) {
  const rulers = traces.map((trace) => rulerOf(trace, unit));
  const length = Math.max(...rulers.map(({ start, end }) => end - start));
  canvases.forEach((canvas, nth) => {
    const [trace, ruler] = [traces[nth], rulers[nth]];
    const view = { from: ruler.start, to: ruler.start + length };
    drawTimeline(canvas, { trace, ruler, view, top: page.top, hidden: new Set(), instant: null });
  });
}
