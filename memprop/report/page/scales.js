// From numbers to pixels, and which numbers are written on an axis.

// Round numbers between 0 and `top`, about `count` of them; bytes at round numbers of their unit.
function ticksTo(top, kind, count = 5) {
  const unit = kind === "bytes" ? 1024 ** Math.max(0, Math.floor((Math.log2(Math.max(top, 1)) - 1) / 10)) : 1;
  const rough = top / unit / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((round) => round * power).find((size) => size >= rough) * unit;
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, place) => place * step);
}

// A tick as text: 64 MiB, 2,048, 1.25.
function tickText(value, kind) {
  if (kind !== "bytes") return formatCount(value);
  const power = value >= 1 ? Math.min(4, Math.floor(Math.log2(value) / 10)) : 0;
  return `${formatCount(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}
