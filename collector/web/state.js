// What the page shows, as it stands in the address: `#/view?key=value`. Pure.

export const RANGES = [
  ["-5m", "last 5 minutes"], ["-15m", "last 15 minutes"], ["-1h", "last hour"],
  ["-6h", "last 6 hours"], ["-24h", "last 24 hours"],
];
export const RANGE_DEFAULT = "-15m";
export const VIEWS = ["services", "flamegraph", "diff", "syscalls", "alerts"];

/** Reads the part of the address after `#`. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const view = VIEWS.includes(path) ? path : "services";
  const state = { view };
  for (const [key, value] of new URLSearchParams(query)) {
    if (value && key !== "view") state[key] = value;
  }
  return state;
}

/** Writes the address of a state; empty values are left out. */
export function format({ view, ...rest }) {
  const query = new URLSearchParams(Object.entries(rest).filter(([, value]) => value));
  const text = query.toString();
  return `#/${view === "services" ? "" : view}${text ? `?${text}` : ""}`;
}

/** The parameters of the API that narrow a profile: service, filters and times, without those of one side. */
export function selection(state) {
  const taken = ["service", "version", "host", "unit", "from", "to"];
  return Object.fromEntries(Object.entries(state).filter(([key]) => taken.includes(key) || key.startsWith("label.")));
}

/** A time of the API as Unix seconds. */
export function seconds(text, now) {
  if (!text || text === "now") return now;
  const relative = /^-(\d+)([smhd])$/.exec(text);
  if (!relative) return Number(text);
  return now - Number(relative[1]) * { s: 1, m: 60, h: 3600, d: 86400 }[relative[2]];
}

/** The range just before a range, of the same length; a relative range stays relative. */
export function rangeBefore(from = RANGE_DEFAULT, to = "now") {
  const relative = /^-(\d+)([smhd])$/.exec(from);
  if (relative && to === "now") return { from: `-${relative[1] * 2}${relative[2]}`, to: from };
  const now = Date.now() / 1000;
  const [start, end] = [seconds(from, now), seconds(to, now)];
  return { from: (2 * start - end).toFixed(0), to: start.toFixed(0) };
}
