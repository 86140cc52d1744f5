// Follows the address: reads what to show, asks what every view needs, hands over to the view.

import { showAlerts } from "./alerts.js";
import { ask } from "./api.js";
import { showDiff } from "./diff.js";
import { element, notice } from "./dom.js";
import { showFilters, showNavigation, showTrust } from "./frame.js";
import { showFlamegraph } from "./flamegraph.js";
import { showServices } from "./services.js";
import { format, parse, seconds } from "./state.js";
import { showSyscalls } from "./syscalls.js";

/** How often an empty page looks for the first samples. */
const WAIT_MS = 5000;
const OF_ONE_SERVICE = ["diff", "syscalls"];
const SHOWN = {
  services: showServices, flamegraph: showFlamegraph, diff: showDiff, syscalls: showSyscalls, alerts: showAlerts,
};

const main = document.getElementById("main");
let asked = new AbortController();
let shown = null;
let waiting = 0;
let framed = false;

function go(state) {
  const address = format(state);
  if (address === location.hash) show();
  else location.hash = address;
}

/** Puts zoom and search into the address without a new step in the history. */
function update(changes) {
  history.replaceState(null, "", format({ ...parse(location.hash), ...changes }));
}

async function show() {
  asked.abort();
  asked = new AbortController();
  clearTimeout(waiting);
  const { signal } = asked;
  let state = parse(location.hash);
  main.setAttribute("aria-busy", "true");
  if (!framed) {
    // An error must not leave a page without a way on.
    showNavigation(state, []);
    showFilters(state, { services: [] }, go);
    framed = true;
  }
  try {
    const { from, to } = state;
    const [services, status, { alerts }] = await Promise.all([
      ask("services", { from, to }, signal), ask("status", {}, signal), ask("alerts", {}, signal),
    ]);
    const catalog = { ...services, seconds: covered(services) };
    if (OF_ONE_SERVICE.includes(state.view) && !state.service) {
      state = { ...state, service: catalog.services[0]?.service };
    }
    showNavigation(state, alerts);
    showFilters(state, catalog, go);
    showTrust(status);
    document.title = `${state.service ?? state.view} – Flamewatch`;
    const next = await view({ main, state, catalog, status, alerts, signal, update, go, again: show });
    if (signal.aborted) {
      next?.close();
      return;
    }
    shown?.close();
    shown = next;
  } catch (error) {
    if (error.name === "AbortError") return;
    showFilters(state, { services: [] }, go);
    shown?.close();
    shown = null;
    main.replaceChildren(element("section", { class: "notice error", role: "alert" }, element("h2", {}, "This did not work"),
      element("p", {}, error.message), element("button", { type: "button", onclick: show }, "Try again")));
  } finally {
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

async function view(context) {
  const { state, catalog, status } = context;
  if (state.view === "alerts" || catalog.services.length > 0) return SHOWN[state.view](context);
  waiting = setTimeout(show, WAIT_MS);
  main.replaceChildren(status.batches_stored === 0 ? firstSteps() : notice("Nothing was sampled in this time range",
    element("p", {}, "Choose a longer range above, or see whether an agent still runs: its log says when it sends.")));
  return null;
}

function firstSteps() {
  return notice("No samples yet",
    element("p", {}, "Start an agent on a Linux host, as root; its first samples appear here within half a minute:"),
    element("pre", {}, `sudo flamewatch-agent run --collector http://${location.hostname}:7170`),
    element("p", {}, "If none appear, this says what the host lacks and how to mend it:"),
    element("pre", {}, "sudo flamewatch-agent check"),
    element("p", { class: "muted" }, "This page looks again every few seconds."));
}

/** Wall time that the samples cover, at most the range: an agent that started a minute ago has not idled before. */
function covered({ from, to, services }) {
  const first = Math.min(...services.map((entry) => entry.first_seen_unix_ns / 1e9));
  const last = Math.max(...services.map((entry) => entry.last_seen_unix_ns / 1e9));
  return Math.max(1, Math.min(to, last) - Math.max(from, first)) || Math.max(1, seconds("now", to) - from);
}

/** An alert's link names the service as `?service=`: its comparison is what whoever follows it wants to see. */
function followLink() {
  const service = new URLSearchParams(location.search).get("service");
  if (service && !location.hash) history.replaceState(null, "", `${location.pathname}${format({ view: "diff", service })}`);
}

addEventListener("hashchange", show);
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
followLink();
show();
