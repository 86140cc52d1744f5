// The first view: every service, and the flame graph of the whole host beneath.

import { ask } from "./api.js";
import { element, table } from "./dom.js";
import { showFlamegraph } from "./flamegraph.js";
import { ago, cores, count } from "./format.js";
import { almost } from "./quality.js";
import { format } from "./state.js";

/** Services with a small curve; the others are too quiet to see one. */
const SPARKS_MAX = 30;
const VERSIONS_SHOWN = 3;
/** Curves with fewer steps are drawn whole. */
const PARTS_MIN = 4;

export async function showServices({ main, state, catalog, signal, update }) {
  const link = (entry, view = "flamegraph") => format({ ...state, view, service: entry.service, version: "", zoom: "" });
  const sparks = new Map(catalog.services.slice(0, SPARKS_MAX).map((entry) => [entry.service, sparkline()]));
  const rows = table(`${catalog.services.length} services, by CPU time`, [
    { title: "Service", cell: (entry) => element("a", { href: link(entry) }, entry.service), value: (entry) => entry.service },
    { title: "CPU cores", number: true, cell: (entry) => cores(entry.cpu_ns / 1e9 / catalog.seconds), value: (entry) => entry.cpu_ns },
    { title: "CPU over time", cell: (entry) => sparks.get(entry.service) ?? "" },
    { title: "Samples", number: true, cell: (entry) => count(entry.samples), value: (entry) => entry.samples },
    { title: "Whole stacks", number: true, cell: (entry) => (entry.whole_share === null ? "–" : almost(entry.whole_share)), value: (entry) => entry.whole_share ?? -1 },
    { title: "Versions", cell: (entry) => versions(entry) },
    { title: "Hosts", number: true, cell: (entry) => count(hosts(entry)), value: hosts },
    { title: "Last seen", cell: (entry) => ago(entry.last_seen_unix_ns / 1e9), value: (entry) => entry.last_seen_unix_ns },
    { title: "", cell: (entry) => [
      element("a", { class: "chip", href: link(entry, "diff") }, "diff"), element("a", { class: "chip", href: link(entry, "syscalls") }, "syscalls"),
    ] },
  ], catalog.services, "CPU cores");
  const flame = element("section", { class: "panel", "aria-label": "Flame graph of all services" });
  main.replaceChildren(element("section", { class: "panel" }, element("h1", {}, "Services"), rows), flame);
  const drawn = showFlamegraph({ main: flame, state: { ...state, service: "*" }, catalog, signal, update, brief: true });
  await Promise.all([drawn, drawSparks(sparks, state, signal)]);
  return drawn;
}

function versions(entry) {
  const chips = entry.versions.slice(0, VERSIONS_SHOWN).map(({ version }) => element("span", { class: "chip", title: version },
    version.length > 16 ? `${version.slice(0, 15)}…` : version || "none"));
  const more = entry.versions.length - VERSIONS_SHOWN;
  return more > 0 ? [...chips, `+${more}`] : chips;
}

const hosts = (entry) => new Set(entry.versions.flatMap((version) => version.hosts)).size;

function sparkline() {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("class", "spark");
  made.setAttribute("viewBox", "0 0 100 20");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** Fills the curves one after another: they must not keep the flame graph waiting. */
async function drawSparks(sparks, state, signal) {
  for (const [service, spark] of sparks) {
    const { from, to } = state;
    const { step, points } = await ask("series", { service, from, to }, signal).catch(() => ({ points: [] }));
    const bySecond = new Map();
    for (const { start_unix_ns: start, cpu_ns: cpu } of points) bySecond.set(start, (bySecond.get(start) ?? 0) + cpu);
    if (bySecond.size === 0) continue;
    const starts = [...bySecond.keys()].sort((a, b) => a - b);
    // The range begins and ends within a step; a part of one would look like a drop.
    if (starts.length > PARTS_MIN) {
      starts.pop();
      starts.shift();
    }
    const first = starts[0];
    const steps = Math.max(1, Math.round((starts.at(-1) - first) / 1e9 / step));
    const most = Math.max(...bySecond.values());
    const height = (index) => 20 - 18 * (at(bySecond, first, step, index) / most);
    const line = Array.from({ length: steps + 1 }, (_, index) => `${(100 * index / steps).toFixed(1)} ${height(index).toFixed(1)}`);
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M0 21 L${line.join(" L")} L100 21 Z`);
    spark.replaceChildren(path);
  }
}

/** CPU time of a step; starts are numbers too large to be exact, so the nearest counts. */
function at(bySecond, first, step, index) {
  for (const [start, cpu] of bySecond) {
    if (Math.round((start - first) / 1e9 / step) === index) return cpu;
  }
  return 0;
}
