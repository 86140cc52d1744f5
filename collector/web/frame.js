// What stands around every view: navigation, filters, and how far the numbers can be trusted.

import { element, labelled, select } from "./dom.js";
import { bytes, count } from "./format.js";
import { format, RANGE_DEFAULT, RANGES, seconds } from "./state.js";

const TITLES = { services: "Services", flamegraph: "Flame graph", diff: "Diff", syscalls: "Syscalls", alerts: "Alerts" };

export function showNavigation(state, alerts) {
  const firing = alerts.filter((alert) => alert.state === "firing").length;
  const { service, version, host, unit, from, to } = state;
  const links = Object.entries(TITLES).map(([view, title]) => {
    const kept = view === "services" || view === "alerts" ? { from, to } : { service, version, host, unit, from, to };
    const badge = view === "alerts" && firing > 0
      ? element("span", { class: "badge", "aria-label": `${firing} firing` }, String(firing)) : null;
    return element("a", { href: format({ view, ...kept }), "aria-current": view === state.view ? "page" : null }, title, badge);
  });
  document.getElementById("nav").replaceChildren(...links);
}

export function showFilters(state, catalog, go) {
  const set = (values) => go({ ...withoutSides(state), zoom: "", ...values });
  const view = state.view === "services" || state.view === "alerts" ? "flamegraph" : state.view;
  const entry = catalog.services.find(({ service }) => service === state.service);
  const services = [["", "all services"], ...catalog.services.map(({ service }) => [service, service])];
  const ofEntry = (of) => [...new Set((entry?.versions ?? []).flatMap(of))].sort().map((value) => [value, value]);
  const filter = (title, key, values) => (values.length > 1 || state[key]
    ? labelled(title, select([["", "any"], ...values], state[key] ?? "", (value) => set({ [key]: value }))) : "");
  const controls = [
    labelled("Service", select(services, state.service ?? "", (service) => set({ view, service, version: "", host: "", unit: "", search: "" }))),
    state.view === "diff" ? "" : filter("Version", "version", ofEntry(({ version }) => [version])),
    filter("Host", "host", ofEntry(({ hosts }) => hosts)),
    filter("Unit", "unit", ofEntry(({ units }) => units)),
    ...times(state, set),
    element("button", { type: "button", onclick: () => go(state), title: "Ask again" }, "Refresh"),
  ];
  document.getElementById("filters").replaceChildren(...controls.filter(Boolean));
}

function times(state, set) {
  const from = state.from ?? RANGE_DEFAULT;
  const custom = state.to || !RANGES.some(([value]) => value === from);
  const now = Date.now() / 1000;
  const choose = (value) => set(value === "custom"
    ? { from: seconds(from, now).toFixed(0), to: seconds(state.to, now).toFixed(0) } : { from: value, to: "" });
  const picker = labelled("Time", select([...RANGES, ["custom", "from … to …"]], custom ? "custom" : from, choose));
  if (!custom) return [picker];
  const field = (name, text) => labelled(text, element("input", {
    type: "datetime-local", step: 1, value: local(seconds(state[name] ?? (name === "from" ? from : "now"), now)),
    onchange: (event) => {
      const chosen = new Date(event.target.value).getTime() / 1000;
      if (Number.isFinite(chosen)) set({ [name]: chosen.toFixed(0) });
    },
  }));
  return [picker, field("from", "From"), field("to", "To")];
}

/** Unix seconds as a date field shows them: local time without a zone. */
function local(unix) {
  const date = new Date(unix * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

const withoutSides = (state) => Object.fromEntries(Object.entries(state).filter(([key]) => !/^(baseline|candidate)\./.test(key)));

/** Samples taken, stored and lost since the store was made. */
export function showTrust(status) {
  const lost = Object.entries(status.lost).filter(([, samples]) => samples > 0);
  const gone = lost.reduce((sum, [, samples]) => sum + samples, 0);
  const reasons = lost.map(([reason, samples]) => `${reason.replaceAll("_", " ")} ${count(samples)}`).join(", ");
  const share = status.samples_taken > 0 ? ` (${(100 * gone / status.samples_taken).toFixed(2)} %)` : "";
  document.getElementById("trust").replaceChildren(
    "Since the store was made: ", element("b", {}, count(status.samples_taken)), " samples taken, ",
    element("b", {}, count(status.samples_stored)), " stored, ",
    gone > 0 ? element("span", { class: "lost" }, `${count(gone)} lost${share}: ${reasons}`) : "none lost",
    ` · ${bytes(status.bytes_on_disk)} on disk · flamewatch-collector ${status.version}`);
}
