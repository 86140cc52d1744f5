// Turns numbers into short text. Pure.

const whole = new Intl.NumberFormat("en-US");

/** 1234567 → "1,234,567". */
export const count = (value) => whole.format(value);

/** 0.0213 → "2.13 %". */
export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = share * 100;
  const digits = Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.095 || value === 0 ? 2 : 3;
  return `${value.toFixed(digits)} %`;
}

/** 0.004 → "+0.40 %", in points of share. */
export const change = (delta) => `${delta > 0 ? "+" : delta < 0 ? "−" : "±"}${percent(Math.abs(delta))}`;

/** Nanoseconds with three digits: 1234 → "1.23 µs". */
export function duration(ns) {
  for (const [unit, size] of [["h", 3.6e12], ["min", 6e10], ["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (ns >= size) return `${three(ns / size)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/** CPU cores: CPU time over wall time. */
export function cores(value) {
  return value >= 0.0005 || value === 0 ? three(value) : value.toExponential(0);
}

/** 123456789 → "118 MiB". */
export function bytes(value) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size) return `${three(value / size)} ${unit}`;
  }
  return `${value} B`;
}

/** Unix seconds as local time. */
export function time(seconds) {
  return new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
}

/** "−3 min", "just now": how long ago, for people. */
export function ago(seconds, now = Date.now() / 1000) {
  const past = Math.max(0, now - seconds);
  if (past < 30) return "just now";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (past >= size) return `${Math.floor(past / size)} ${unit} ago`;
  }
  return `${Math.round(past)} s ago`;
}

function three(value) {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value >= 0.1 || value === 0 ? value.toFixed(2) : value.toFixed(3);
}
