// From numbers to pixels, and which numbers are written on an axis.

// Round numbers between 0 and `top`, about `count` of them; bytes at round numbers of their unit.
function ticksTo(top, kind, count = 5) {
  const unit = kind === "bytes" ? 1024 ** Math.max(0, Math.floor((Math.log2(Math.max(top, 1)) - 1) / 10)) : 1;
  const rough = top / unit / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((round) => round * power).find((size) => size >= rough) * unit;
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, place) => place * step);
}

// Powers of two (of a power of two, if they are many) between two positive numbers.
function powersBetween(low, high, count = 6) {
  const [first, last] = [Math.ceil(Math.log2(low) - 1e-9), Math.floor(Math.log2(high) + 1e-9)];
  const stride = Math.max(1, Math.ceil((last - first + 1) / count));
  const found = [];
  for (let power = Math.ceil(first / stride) * stride; power <= last; power += stride) found.push(2 ** power);
  return found;
}

const NARROW = [1, 1.1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16];

// A tick as text: 64 MiB, 2,048, 1.25.
function tickText(value, kind) {
  if (kind !== "bytes") return formatCount(value);
  const power = value >= 1 ? Math.min(4, Math.floor(Math.log2(value) / 10)) : 0;
  return `${formatCount(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

// An axis over `values` that ends in pixels `from` and `to`.
function scaleOf(values, kind, log, from, to) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return log && low > 0 ? logScale(values, low, high, kind, from, to) : linearScale(low, high, kind, from, to);
}

function linearScale(low, high, kind, from, to) {
  const base = kind === "times" ? Math.min(1, low) : 0;
  const top = base + (high - base || 1) * 1.06;
  const ticks = kind === "times" ? ticksTo(top - base, kind).map((tick) => base + tick) : ticksTo(top, kind);
  return { ticks, at: (value) => from + ((value - base) / (top - base)) * (to - from) };
}

function logScale(values, low, high, kind, from, to) {
  const room = Math.max(0.04 * Math.log(high / low), 0.02);
  const [a, b] = [Math.log(low) - room, Math.log(high) + room];
  return {
    ticks: logTicks(values, low, high, kind, [Math.exp(a), Math.exp(b)]),
    at: (value) => from + ((Math.log(value) - a) / (b - a)) * (to - from),
  };
}

function logTicks(values, low, high, kind, [bottom, top]) {
  const tried = [...new Set(values)];
  if (kind === "count" && tried.length <= 7) return tried;
  if (kind === "times" && high / low < 20) return NARROW.filter((tick) => tick >= bottom && tick <= top);
  return powersBetween(bottom, top);
}
