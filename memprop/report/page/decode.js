// A trace as encode.py wrote it, as arrays that can be drawn and searched.

// Values and how often each comes in a row -> one value an event.
function expandRuns(runs, count) {
  const column = new Int32Array(count);
  let at = 0;
  runs.value.forEach((value, place) => {
    column.fill(value, at, at + runs.length[place]);
    at += runs.length[place];
  });
  return column;
}

// The changes of live bytes -> live bytes of each category after each event, and their sum.
function expandLive(changes, count) {
  const byCategory = page.categories.map(() => new Float64Array(count));
  const total = new Float64Array(count);
  let at = 0;
  changes.gap.forEach((gap, place) => {
    at += gap;
    byCategory[changes.category[place]][at] += changes.bytes[place];
  });
  for (const column of byCategory) {
    for (let event = 1; event < count; event++) column[event] += column[event - 1];
    for (let event = 0; event < count; event++) total[event] += column[event];
  }
  return { byCategory, total };
}

// The steps of the clock -> when each event happened and, last, when the step was over, in
// nanoseconds; null where nothing was run.
function expandTimes(steps, count) {
  if (!steps) return null;
  const times = new Float64Array(count + 1);
  let at = 0;
  steps.gap.forEach((gap, place) => {
    at += gap;
    times[at] = steps.nanoseconds[place];
  });
  for (let event = 1; event <= count; event++) times[event] += times[event - 1];
  return times;
}

// Lives in the order of birth. `freed` is the end of the step where a life outlasts it.
function expandLives(code, reads, count) {
  let born = 0;
  let next = 0;
  return code.variable.map((variable, place) => {
    born += code.gap[place];
    const length = code.length[place];
    const life = {
      variable, born, outlasts: length < 0, storage: code.storage[place],
      freed: length < 0 ? count : born + length, reads: [], reuses: [],
    };
    let at = born;
    for (const end = next + code.reads[place]; next < end; next++) {
      at += reads[next] >> 1;
      life.reads.push(at);
      if (reads[next] & 1) life.reuses.push(at);
    }
    return life;
  });
}

// A row for each variable that ever lived, with its lives in order.
function rowsOf(code, lives) {
  const { name, category, layer, shape, dtype, bytes, site, line, cached } = code.variables;
  const rows = new Map();
  for (const life of lives) {
    const v = life.variable;
    if (!rows.has(v)) {
      rows.set(v, {
        name: name[v], category: category[v], layer: layer[v], shape: shape[v], dtype: dtype[v],
        bytes: bytes[v], site: site[v], line: line[v], cached: cached[v] > 0, recomputed: cached[v] === 2,
        lives: [], lifetime: 0, born: life.born,
      });
    }
    const row = rows.get(v);
    row.lives.push(life);
    row.lifetime += life.freed - life.born;
  }
  return [...rows.values()];
}

function decode(code) {
  const count = code.events;
  const lives = expandLives(code.lives, code.reads, count);
  const trace = {
    count, lives, peak: code.peak, peakEvent: code.peak_event, phases: code.phases,
    operators: code.operators, ...expandLive(code.changes, count),
    phaseAt: expandRuns(code.phase, count), operatorAt: expandRuns(code.operator, count),
    times: expandTimes(code.times, count), rows: rowsOf(code, lives),
  };
  trace.stretches = stretchesOf(trace);
  return trace;
}

// The name of the operator that runs at an event.
function operatorAt(trace, event) {
  const operator = trace.operatorAt[event];
  return operator < 0 ? "setup" : trace.operators[operator];
}

// What kind of part a phase is: "backward" for "backward 2" and for "critic/backward".
function partOf(phase) {
  return phase.split("/").at(-1).replace(/ \d+$/, "");
}

// Phases one after the other. All between the first and the last operator of a backward pass is one
// stretch, though forward operators may run again in it.
function stretchesOf(trace) {
  const passes = trace.phases.flatMap((name, phase) =>
    partOf(name) === "backward"
      ? [{ phase, first: trace.phaseAt.indexOf(phase), last: trace.phaseAt.lastIndexOf(phase) }]
      : []);
  const within = (event) => {
    const pass = passes.find(({ first, last }) => first >= 0 && event >= first && event <= last);
    return pass ? pass.phase : trace.phaseAt[event];
  };
  const found = [];
  for (let event = 0; event < trace.count; event++) {
    const phase = within(event);
    const open = found.at(-1);
    if (open && open.phase === phase) open.to = event + 1;
    else found.push({ phase, name: trace.phases[phase], from: event, to: event + 1 });
  }
  return found;
}

// The life in a row that covers an event: the last one born by then, if it has not ended.
function lifeAt(row, event) {
  let low = 0;
  let high = row.lives.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row.lives[middle].born <= event) low = middle + 1;
    else high = middle;
  }
  const life = row.lives[low - 1];
  return life && event < life.freed ? life : null;
}
