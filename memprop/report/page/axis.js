// The common axis of the timeline and the lives: it counts events, or it measures time.
//
// A ruler says where events are on the axis. `place` is where an event begins to hold and the one
// before it ends; `mark` is where a thing that happens in it is drawn; `eventOf` is what holds at a
// place, the number of events beyond the last. `least` is the shortest stretch that can be shown.

const TIMELINE = { top: 22, bottom: 46, right: 10 };
const TICK_ROOM = 110;
const gutterOf = (width) => (width < 700 ? 96 : 190);

const RULERS = {
  events: ({ count }) => ({
    unit: "events", start: 0, end: count, least: Math.min(8, count),
    place: (event) => event, mark: (event) => event + 0.5, eventOf: Math.floor,
  }),
  time: ({ times }) => ({
    unit: "time", start: times[0], end: times.at(-1), least: Math.min(1000, times.at(-1) - times[0]),
    place: (event) => times[event], mark: (event) => times[event], eventOf: (at) => lastUntil(times, at),
  }),
};

// The ruler that is asked for; that of events for a step without times.
const rulerOf = (trace, unit) => RULERS[trace.times ? unit : "events"](trace);

const wholeOf = ({ start, end }) => ({ from: start, to: end });

// The last place in rising numbers at which no more than `limit` stands.
function lastUntil(numbers, limit) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// `view` of a ruler, between two pixels.
function stepAxis(ruler, view, width) {
  const left = gutterOf(width);
  const room = width - left - TIMELINE.right;
  const at = (place) => left + ((place - view.from) / (view.to - view.from)) * room;
  const placeAt = (x) => view.from + ((x - left) / room) * (view.to - view.from);
  return {
    left, right: left + room, room, ruler, ...view, placeAt, tickAt: at,
    at: (event) => at(ruler.place(event)),
    mark: (event) => at(ruler.mark(event)),
    eventAt: (x) => ruler.eventOf(placeAt(x)),
  };
}

// The view of another ruler that shows the same events; those that happen at once come together.
function viewIn(ruler, old, { from, to }) {
  let first = old.eventOf(from);
  while (first > 0 && old.place(first - 1) === old.place(first)) first -= 1;
  const end = Math.min(to, old.end);
  const last = old.eventOf(end);
  return { from: ruler.place(first), to: ruler.place(old.place(last) < end ? last + 1 : last) };
}

// Round numbers from one to another, no more than `count` or so, with their texts.
function ticksBetween({ from, to, ruler }, count) {
  const unit = ruler.unit === "time" ? timeUnit(to) : { size: 1, name: "" };
  const rough = (to - from) / unit.size / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const round = [1, 2, 5, 10].map((size) => size * power).find((size) => size >= rough);
  const step = ruler.unit === "time" ? round : Math.max(1, round);
  const first = Math.ceil(from / unit.size / step - 1e-9);
  const found = Math.floor(to / unit.size / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, found) }, (_, nth) => {
    const value = Number(((first + nth) * step).toPrecision(12));
    const number = value.toLocaleString("en-US", { maximumFractionDigits: 9 });
    return { at: value * unit.size, text: `${number} ${unit.name}`.trim() };
  });
}

function drawTicks(context, axis, bottom, colors) {
  context.fillStyle = colors.quiet;
  context.textAlign = "right";
  context.fillText(axis.ruler.unit === "time" ? "time" : "event", axis.left - 20, bottom + 18);
  context.fillRect(axis.left, bottom, axis.room, 1);
  for (const { at, text } of ticksBetween(axis, Math.floor(axis.room / TICK_ROOM))) {
    const x = axis.tickAt(at);
    const half = context.measureText(text).width / 2;
    context.textAlign = x + half > axis.right ? "right" : "center";
    context.fillRect(Math.round(x), bottom, 1, 5);
    context.fillText(text, context.textAlign === "right" ? axis.right : x, bottom + 18);
  }
}
