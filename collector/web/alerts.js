// What is wrong now, and what was: each alert with its evidence and a link to the comparison behind it.

import { tell } from "./api.js";
import { element, notice } from "./dom.js";
import { ago, change, cores, count, duration, percent, time } from "./format.js";
import { format } from "./state.js";

const ORDER = ["firing", "stale", "pending", "accepted", "resolved"];
const OPEN = ["firing", "stale", "pending"];
const MODES = {
  concurrent: "both versions side by side, same windows", paired: "the same hosts before and after the release",
  before_after: "before and after the release", temporal: "the service against its own past, without a release",
};
const MOVES = { rename: "renamed", move: "moved", inline: "inlined", split: "split", merge: "merged" };
const PATHS_SHOWN = 5;
/** How far a comparison looks back from an alert's end, in seconds. */
const LOOKBACK_S = 3600;

export async function showAlerts({ main, alerts, again }) {
  const sorted = [...alerts].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || b.started_at - a.started_at);
  if (sorted.length === 0) {
    main.replaceChildren(notice("No alerts",
      element("p", {}, "Each service's newest version is compared with the one before it. When a function takes more CPU or a syscall "
        + "gets slower, and the samples prove it, the alert stands here with its evidence. So does what changes without a release."),
      element("p", {}, element("a", { href: "#/diff" }, "Compare two versions or two ranges yourself"))));
    return null;
  }
  const number = (state) => sorted.filter((alert) => alert.state === state).length;
  const facts = ORDER.filter((state) => number(state) > 0).map((state) => `${number(state)} ${state}`).join(" · ");
  main.replaceChildren(
    element("div", { class: "heading" }, element("h1", {}, "Alerts"), element("span", { class: "facts" }, facts)),
    ...sorted.map((alert) => card(alert, again)));
  return null;
}

function card(alert, again) {
  const title = titleOf(alert);
  const isFunction = alert.subject === "function";
  const ends = { resolved: "resolved", accepted: "accepted" };
  const until = ends[alert.state] && alert.resolved_at ? `, ${ends[alert.state]} ${time(alert.resolved_at)}` : "";
  const compare = alert.mode === "temporal" || alert.subject === "digest" ? ""
    : element("a", { class: "chip", href: diffLink(alert, isFunction ? alert.function : "") }, "Compare both versions");
  return element("article", { class: `panel alert is-${alert.state}`, "aria-label": title },
    element("div", { class: "heading" },
      element("h2", {}, title), element("span", { class: `verdict ${alert.state}` }, alert.state),
      element("span", { class: "chip" }, alert.severity),
      element("span", { class: "facts" }, `${alert.service} · since ${time(alert.started_at)} (${ago(alert.started_at)})${until}`),
      element("div", { class: "tools" }, compare, decision(alert, again))),
    evidence(alert, alert.evidence.verdict, isFunction),
    isFunction && alert.evidence.changed_paths.length > 0 ? paths(alert.evidence.changed_paths) : "");
}

function titleOf(alert) {
  switch (alert.subject) {
    case "function": return `${alert.function} takes more CPU`;
    case "syscall": return syscallTitle(alert);
    case "digest": return `${alert.evidence.also_visible_in.length} further regressions within an hour`;
    case "request": return "Each request takes more CPU";
    default: return "The service takes more CPU";
  }
}

/** A button that asks twice: the first press says what the second one does. */
function decision(alert, again) {
  const isAccepted = alert.state === "accepted";
  if (alert.subject === "digest" || !(isAccepted || OPEN.includes(alert.state))) return "";
  const place = element("span");
  const fail = (error) => place.replaceChildren(element("span", { class: "facts warn", role: "alert" }, error.message));
  const send = (note) => tell(`alerts/${alert.fingerprint}/accept`, isAccepted ? "DELETE" : "POST", isAccepted ? undefined : { note })
    .then(again, fail);
  const ask = () => {
    const note = element("input", { type: "text", maxLength: 300, placeholder: "why (for those who look later)", "aria-label": "Why" });
    const form = element("form", { class: "sides", onsubmit: (event) => { event.preventDefault(); send(note.value); } },
      isAccepted ? "" : note,
      element("button", { type: "submit" }, isAccepted ? "Take it back" : "Yes, this is how it shall be"),
      element("button", { type: "button", onclick: rest }, "Cancel"));
    place.replaceChildren(form);
    (isAccepted ? form.querySelector("button") : note).focus();
  };
  const rest = () => place.replaceChildren(element("button", { type: "button", onclick: ask }, isAccepted ? "Withdraw…" : "Accept…"));
  rest();
  return place;
}

const SLOWER = { p50: "is slower (p50)", p95: "is slower (p95)", p99: "is slower (p99)", latency_shape: "is slower",
  call_rate: "is called more often", calls_per_request: "is called more often for each request" };
const syscallTitle = (alert) => `${alert.syscall} ${SLOWER[alert.metric] ?? "fails more often"}`;

function evidence(alert, verdict, isFunction) {
  const found = alert.evidence;
  const isTime = ["p50", "p95", "p99"].includes(alert.metric) || alert.subject === "request";
  const isRate = ["call_rate", "calls_per_request"].includes(alert.metric);
  const text = isTime ? duration : isFunction || alert.subject === "digest" || !(isRate || alert.subject === "service")
    ? percent : (value) => value.toFixed(3);
  const signed = (value) => (text === percent ? change(value) : `${value < 0 ? "−" : "+"}${text(Math.abs(value))}`);
  const before = verdict.baseline_value === null ? "none" : text(verdict.baseline_value);
  const relative = verdict.delta_rel === null ? "" : ` (${verdict.delta_rel >= 0 ? "+" : "−"}${percent(Math.abs(verdict.delta_rel))} relative)`;
  const { baseline_cores: from, candidate_cores: to, cost_shift: shift } = found;
  const versions = alert.escalation ? `${alert.candidate_version}, worse in ${alert.escalation.version}` : alert.candidate_version;
  const what = isFunction ? `Share of CPU (${alert.kind})` : alert.metric ? alert.metric.replace(/_/g, " ") : alert.subject === "request" ? "CPU of a request" : "CPU cores of a unit";
  const rows = [
    ["Versions", `${alert.baseline_version} → ${versions}`],
    ["Compared", MODES[alert.mode]],
    alert.past ? ["Began", time(alert.past.change_unix_ns / 1e9)] : null,
    alert.withheld ? ["Withheld", alert.withheld] : null,
    alert.is_in_digest ? ["Told", "as part of a digest: too many came within an hour"] : null,
    alert.acceptance ? ["Accepted", alert.acceptance.note || "without a note"] : null,
    shift ? ["Cause", `work that was ${MOVES[shift.kind]}: `
      + `${shift.partners.join(", ")}; together ${change(shift.net)}, 90 % interval ${change(shift.net_low)} to ${change(shift.net_high)}`] : null,
    found.caller ? ["Called from", found.caller] : null,
    [what, `${before} → ${text(verdict.candidate_value)}`],
    ["Change", `${signed(verdict.delta_abs)}${relative}, 95 % interval ${signed(verdict.ci_low)} to ${signed(verdict.ci_high)}, q ${verdict.q < 1e-4 ? "< 0.0001" : verdict.q.toFixed(4)}`],
    Number.isFinite(from) && Number.isFinite(to) ? ["CPU cores of a unit", `${cores(from)} → ${cores(to)}`] : null,
    found.per_request ? ["CPU of a request", `${duration(found.per_request.baseline_ns)} → ${duration(found.per_request.candidate_ns)}`
      + (found.per_request.is_proxy ? " (requests are estimated)" : "")] : null,
    alert.mode === "temporal" ? ["Windows", `${count(verdict.replicates_candidate)} in a row, against ${count(verdict.replicates_baseline)}`]
      : [isFunction ? "Samples" : "Calls", `${count(verdict.samples_baseline)} and ${count(verdict.samples_candidate)}, `
        + `in ${count(verdict.replicates_baseline)} and ${count(verdict.replicates_candidate)} replicates`],
    found.caveats?.length ? ["Trust", found.caveats.join("; ")] : null,
    found.chain?.length > 1 ? ["Same samples as", found.chain.join(", ")] : null,
    found.also_visible_in?.length ? ["Also visible in", found.also_visible_in.join(", ")] : null,
  ];
  return element("dl", { class: "evidence" }, ...rows.filter(Boolean).flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}

function paths(changed) {
  return element("details", {}, element("summary", {}, "Paths that grew most"),
    element("pre", {}, changed.slice(0, PATHS_SHOWN).map((path) =>
      `${path.part > 0 ? `${percent(path.part)} of the change  ` : ""}${percent(path.baseline_share)} → ${percent(path.candidate_share)}  ${path.functions.join(" › ")}`).join("\n")));
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
