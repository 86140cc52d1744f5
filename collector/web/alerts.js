// What is wrong now, and what was: each alert with its evidence and a link to the comparison behind it.

import { element, notice } from "./dom.js";
import { ago, change, cores, count, duration, percent, time } from "./format.js";
import { format } from "./state.js";

const ORDER = ["firing", "pending", "resolved"];
const PATHS_SHOWN = 5;
/** How far a comparison looks back from an alert's end, in seconds. */
const LOOKBACK_S = 3600;

export async function showAlerts({ main, alerts }) {
  const sorted = [...alerts].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || b.started_at - a.started_at);
  if (sorted.length === 0) {
    main.replaceChildren(notice("No alerts",
      element("p", {}, "Each service's newest version is compared with the one before it. When a function takes more CPU or a syscall "
        + "gets slower, and the samples prove it, the alert stands here with its evidence."),
      element("p", {}, element("a", { href: "#/diff" }, "Compare two versions or two ranges yourself"))));
    return null;
  }
  const number = (state) => sorted.filter((alert) => alert.state === state).length;
  const facts = ORDER.map((state) => `${number(state)} ${state}`).join(" · ");
  main.replaceChildren(
    element("div", { class: "heading" }, element("h1", {}, "Alerts"), element("span", { class: "facts" }, facts)),
    ...sorted.map(card));
  return null;
}

function card(alert) {
  const { verdict } = alert.evidence;
  const isFunction = verdict.subject === "function";
  const title = isFunction ? `${verdict.function} takes more CPU` : syscallTitle(verdict);
  const until = alert.resolved_at ? `, resolved ${time(alert.resolved_at)}` : "";
  return element("article", { class: `panel alert is-${alert.state}`, "aria-label": title },
    element("div", { class: "heading" },
      element("h2", {}, title), element("span", { class: `verdict ${alert.state}` }, alert.state),
      element("span", { class: "facts" }, `${alert.service} · since ${time(alert.started_at)} (${ago(alert.started_at)})${until}`),
      element("div", { class: "tools" }, element("a", { class: "chip", href: diffLink(alert, isFunction ? verdict.function : "") }, "Compare both versions"))),
    evidence(alert, verdict, isFunction),
    isFunction && alert.evidence.changed_paths.length > 0 ? paths(alert.evidence.changed_paths) : "");
}

const isLatency = (metric) => /^p\d+$/.test(metric);
const isRate = (metric) => metric === "call_rate" || metric === "calls_per_request";

function syscallTitle({ syscall, metric }) {
  if (isLatency(metric)) return `${syscall} is slower (${metric})`;
  if (isRate(metric)) return `${syscall} is called more often`;
  if (metric === "latency_shape") return `${syscall} is slower for a part of its calls`;
  return metric === "error_rate" ? `${syscall} fails more often` : `${syscall} fails more often (${metric.replace("_", " ")})`;
}

function evidence(alert, verdict, isFunction) {
  const isTime = !isFunction && isLatency(verdict.metric);
  const text = isTime ? duration : !isFunction && isRate(verdict.metric) ? count : percent;
  const signed = isTime || text === count ? (value) => `${value < 0 ? "−" : "+"}${text(Math.abs(value))}` : change;
  const before = verdict.baseline_value === null ? "none" : text(verdict.baseline_value);
  const relative = verdict.delta_rel === null ? "" : ` (${verdict.delta_rel >= 0 ? "+" : "−"}${percent(Math.abs(verdict.delta_rel))} relative)`;
  const { baseline_cores: from, candidate_cores: to } = alert.evidence;
  const rows = [
    ["Versions", `${alert.baseline_version} → ${alert.candidate_version}`],
    [isFunction ? `Share of CPU (${verdict.kind})` : verdict.metric.replace("_", " "), `${before} → ${text(verdict.candidate_value)}`],
    ["Change", `${signed(verdict.delta_abs)}${relative}, 95 % interval ${signed(verdict.ci_low)} to ${signed(verdict.ci_high)}, q ${verdict.q < 1e-4 ? "< 0.0001" : verdict.q.toFixed(4)}`],
    from !== null && to !== null ? ["CPU cores of a unit", `${cores(from)} → ${cores(to)}`] : null,
    [isFunction ? "Samples" : "Calls", `${count(verdict.samples_baseline)} and ${count(verdict.samples_candidate)}, `
      + `in ${count(verdict.replicates_baseline)} and ${count(verdict.replicates_candidate)} replicates`],
    alert.evidence.caveats?.length ? ["Trust", alert.evidence.caveats.join("; ")] : null,
    verdict.also_visible_in?.length ? ["Also visible in", verdict.also_visible_in.join(", ")] : null,
  ];
  return element("dl", { class: "evidence" }, ...rows.filter(Boolean).flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}

function paths(changed) {
  return element("details", {}, element("summary", {}, "Paths that grew most"),
    element("pre", {}, changed.slice(0, PATHS_SHOWN).map((path) =>
      `${percent(path.baseline_share)} → ${percent(path.candidate_share)}  ${path.functions.join(" › ")}`).join("\n")));
}

/** The comparison behind an alert: its baseline as it was frozen, and the candidate's hour up to now or its end. */
function diffLink(alert, search) {
  const end = alert.resolved_at ?? Date.now() / 1000;
  const start = Math.max(end - LOOKBACK_S, alert.baseline_end_unix_ns / 1e9 - LOOKBACK_S);
  return format({
    view: "diff", service: alert.service, search,
    "baseline.version": alert.baseline_version, "candidate.version": alert.candidate_version,
    "baseline.from": (alert.baseline_start_unix_ns / 1e9).toFixed(0), "baseline.to": (alert.baseline_end_unix_ns / 1e9).toFixed(0),
    "candidate.from": start.toFixed(0), "candidate.to": alert.resolved_at ? end.toFixed(0) : "now",
  });
}
