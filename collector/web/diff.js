// Two ranges or two versions beside each other: a flame graph of the change, and what the detector says.

import { ask } from "./api.js";
import { ofChange, strength, strengthOf } from "./colour.js";
import { element, labelled, notice, select, table } from "./dom.js";
import { FlameView, shareText } from "./flameview.js";
import { change, count, duration, percent, time } from "./format.js";
import { readTree, share } from "./layout.js";
import { ofChanges } from "./legend.js";
import { RANGE_DEFAULT, RANGES, rangeBefore } from "./state.js";

const FUNCTIONS_SHOWN = 200;
const SIDES = ["baseline", "candidate"];
const VERDICTS = {
  regression: "regression", improvement: "improvement", explained: "explained by another", not_significant: "not significant",
};

export async function showDiff({ main, state, catalog, signal, update, go }) {
  const entry = catalog.services.find(({ service }) => service === state.service);
  const chosen = { ...defaults(state, entry), ...ofSides(state) };
  const form = sidesForm(state, chosen, entry, go);
  const parameters = { service: state.service, host: state.host, unit: state.unit, ...chosen };
  const answer = await ask("diff", parameters, signal);
  const empty = SIDES.filter((side) => answer[side].total === 0);
  if (empty.length > 0) {
    main.replaceChildren(head(state, answer, form), notice(`No samples of ${state.service} on the side of the ${empty.join(" and the ")}`,
      element("p", {}, "Choose a longer time range above, or another version.")));
    return null;
  }
  const tree = readTree(answer, 2);
  const delta = (node) => share(tree, 1, node) - share(tree, 0, node);
  const rows = rowsOf(answer, tree);
  const isReplicated = answer.functions.some(({ detectable }) => detectable !== undefined);
  const view = new FlameView({
    tree, legend: ofChanges(isReplicated), label: `Flame graph of the change in ${state.service}`,
    zoom: state.zoom, searched: state.search, onchange: update,
    fill: (node, dark) => ofChange(isReplicated ? strengthOf(share(tree, 0, node), share(tree, 1, node), rows(node))
      : strength(tree.total[0][node], tree.total[0][0], tree.total[1][node], tree.total[1][0]), dark),
    facts: (node) => [
      ["baseline", `${shareText(tree, 0, node)} · ${count(tree.total[0][node])} samples`],
      ["candidate", `${shareText(tree, 1, node)} · ${count(tree.total[1][node])} samples`],
      ["change", `${change(delta(node))} of all CPU time`],
      ...rows(node).map((row) => [`${row.kind} time of the function`, `${change(row.delta)} (${change(row.ci_low)} to ${change(row.ci_high)}), q ${probability(row.q)}`]),
    ],
  });
  main.replaceChildren(head(state, answer, form),
    element("section", { class: "panel" }, element("h2", {}, "Where the time went"), view.node),
    element("section", { class: "panel" }, groupsTable(answer, view), basis(answer)),
    element("section", { class: "panel" }, functionsTable(answer, view)),
    element("section", { class: "panel" }, syscallsTable(answer)));
  view.draw();
  return view;
}

/** What the detector says about the function of a node: its self and its total time, where it was tested. */
function rowsOf(answer, tree) {
  const byFunction = Map.groupBy(answer.functions, (row) => `${row.module}\n${row.function}`);
  const byFrame = tree.frames.map(([name, module]) => byFunction.get(`${tree.modules[module]}\n${tree.names[name]}`) ?? []);
  return (node) => byFrame[tree.frame[node]];
}

/** Two versions when there are two, else the range and the one before it. */
function defaults(state, entry) {
  const [latest, previous] = entry?.versions ?? [];
  const { from = RANGE_DEFAULT, to = "now" } = state;
  if (!state.version && latest && previous) {
    return {
      "baseline.version": previous.version, "candidate.version": latest.version, "baseline.from": from, "baseline.to": to,
      "candidate.from": from, "candidate.to": to,
    };
  }
  const before = rangeBefore(from, to);
  const version = state.version ?? "";
  return {
    "baseline.version": version, "candidate.version": version, "baseline.from": before.from, "baseline.to": before.to,
    "candidate.from": from, "candidate.to": to,
  };
}

const ofSides = (state) => Object.fromEntries(Object.entries(state).filter(([key]) => SIDES.some((side) => key.startsWith(`${side}.`))));

function head(state, answer, form) {
  const facts = SIDES.map((side) => `${side} ${count(answer[side].total)} samples`).join(", ");
  const replicates = `${answer.baseline.replicates} and ${answer.candidate.replicates} ${answer.replication}`;
  return element("section", { class: "panel" },
    element("div", { class: "heading" }, element("h1", {}, `Change in ${state.service}`),
      element("span", { class: "facts" }, `${facts} · compared by ${replicates}`)), form);
}

function sidesForm(state, chosen, entry, go) {
  const versions = [["", "any version"], ...(entry?.versions ?? []).map(({ version }) => [version, version])];
  const ranges = [...RANGES.map(([from, text]) => [`${from} now`, text]),
    ...RANGES.map(([from, text]) => { const before = rangeBefore(from); return [`${before.from} ${before.to}`, `before the ${text}`]; })];
  const side = (name) => {
    const set = (values) => go({ ...state, ...chosen, zoom: "", ...values });
    const range = `${chosen[`${name}.from`] ?? RANGE_DEFAULT} ${chosen[`${name}.to`] ?? "now"}`;
    return element("fieldset", {}, element("legend", {}, name === "baseline" ? "Baseline (before)" : "Candidate (after)"),
      labelled("Version", select(versions, chosen[`${name}.version`] ?? "", (version) => set({ [`${name}.version`]: version }))),
      labelled("Time", select(withRange(ranges, range), range, (text) => {
        const [from, to] = text.split(" ");
        set({ [`${name}.from`]: from, [`${name}.to`]: to });
      })));
  };
  const swap = () => go({ ...state, ...Object.fromEntries(Object.entries(chosen).map(([key, value]) => [
    key.startsWith("baseline.") ? key.replace("baseline.", "candidate.") : key.replace("candidate.", "baseline."), value])) });
  return element("form", { class: "sides", onsubmit: (event) => event.preventDefault() }, side("baseline"), side("candidate"),
    element("button", { type: "button", onclick: swap }, "Swap sides"));
}

/** The ranges to choose from, with the present one, which an alert's link gives in Unix seconds. */
function withRange(ranges, range) {
  const text = (one) => (/^[\d.]+$/.test(one) ? time(Number(one)) : one);
  return ranges.some(([value]) => value === range) ? ranges : [...ranges, [range, range.split(" ").map(text).join(" to ")]];
}

function seek(view, name) {
  view.input.value = name;
  view.find(name);
  view.node.scrollIntoView({ block: "center" });
}

/** What changed by its cause. A cost shift names where the work went to or came from. */
function groupsTable(answer, view) {
  const name = ({ root }) => root.function ?? root.syscall;
  const where = (row) => (row.chain.length > 1 ? row.chain.join(" → ") : row.path?.join(" → ") ?? "");
  const size = ({ root }, value) => (root.function === undefined ? String(Number(value.toPrecision(3))) : change(value));
  const cause = (row) => (row.cause.cause === "cost_shift"
    ? `${row.cause.kind} with ${row.cause.partners.join(", ")}; together ${change(row.cause.net_low)} to ${change(row.cause.net_high)}`
    : row.direction === "worse" ? "regression" : "improvement");
  return table("What changed, by its cause", [
    { title: "Root", value: name, cell: (row) => element("button", { type: "button", class: "link", title: where(row), onclick: () => seek(view, name(row)) }, name(row)) },
    { title: "Seen in", value: (row) => row.seen_as, cell: (row) => row.seen_as },
    { title: "Called by", value: (row) => row.caller ?? "", cell: (row) => row.caller ?? "" },
    { title: "Change", number: true, value: (row) => row.root.delta_abs, cell: (row) => size(row, row.root.delta_abs) },
    { title: "Interval", number: true, cell: (row) => `${size(row, row.root.ci_low)} to ${size(row, row.root.ci_high)}` },
    { title: "q", number: true, value: (row) => row.root.q, cell: (row) => probability(row.root.q) },
    { title: "Cause", value: cause, cell: cause },
    { title: "Also visible in", cell: (row) => row.also_visible_in.slice(0, 5).join(", ") },
  ], answer.groups);
}

const LARGE = 0.01;

function basis({ functions, basis: { factor, dispersion, replicates_baseline: before, replicates_candidate: after, tests } }) {
  const smallest = functions.filter((row) => row.baseline_share >= LARGE && row.detectable !== undefined).map((row) => row.detectable)
    .sort((one, other) => one - other);
  const facts = [`${tests} tests on ${before} and ${after} replicates`, `shares corrected by ${factor.toFixed(3)}`,
    `median dispersion ${dispersion.toFixed(2)} (1 is sampling noise alone)`];
  if (smallest.length > 0) {
    facts.push(`in the median function of ${percent(LARGE)} or more, growth by ${percent(smallest[Math.floor(smallest.length / 2)])} of all CPU would be found in four of five cases`);
  }
  return element("p", { class: "facts" }, facts.join(" · "));
}

function functionsTable(answer, view) {
  const shown = answer.functions.slice(0, FUNCTIONS_SHOWN);
  return table("Functions, the strongest evidence first. Shares are of all CPU samples; the candidate's are corrected for what grew or shrank elsewhere, so they "
    + "may pass 100 %. Intervals hold 95 %; the smallest seen is the growth that would be found in four of five cases", [
    { title: "Function", value: (row) => row.function, cell: (row) => [
      element("button", { type: "button", class: "link", title: "Find it in the flame graph", onclick: () => seek(view, row.function) }, row.function),
      element("span", { class: "module" }, row.module)] },
    { title: "Time", value: (row) => row.kind, cell: (row) => row.kind },
    { title: "Baseline", number: true, value: (row) => row.baseline_share, cell: (row) => percent(row.baseline_share) },
    { title: "Candidate", number: true, value: (row) => row.candidate_share, cell: (row) => percent(row.candidate_share) },
    { title: "Change", number: true, value: (row) => row.delta, cell: (row) => change(row.delta) },
    { title: "Interval", number: true, cell: (row) => `${change(row.ci_low)} to ${change(row.ci_high)}` },
    { title: "Smallest seen", number: true, value: (row) => row.detectable ?? 0, cell: (row) => (row.detectable === undefined ? "" : change(row.detectable)) },
    { title: "q", number: true, value: (row) => row.q, cell: (row) => probability(row.q) },
    { title: "Verdict", value: (row) => row.verdict, cell: verdict },
  ], shown);
}

function syscallsTable(answer) {
  const unit = (row) => (/^p\d+$/.test(row.metric) ? duration : row.metric.startsWith("call") ? count : percent);
  const text = (row, value) => unit(row)(value);
  const signed = (row, value) => (unit(row) === percent ? change(value) : `${value < 0 ? "−" : "+"}${unit(row)(Math.abs(value))}`);
  return table("Syscalls, the strongest evidence first", [
    { title: "Syscall", value: (row) => row.name, cell: (row) => row.name },
    { title: "Number", value: (row) => row.metric, cell: (row) => row.metric.replace("_", " ") },
    { title: "Baseline", number: true, cell: (row) => text(row, row.baseline) },
    { title: "Candidate", number: true, cell: (row) => text(row, row.candidate) },
    { title: "Change", number: true, cell: (row) => signed(row, row.delta) },
    { title: "Interval", number: true, cell: (row) => `${signed(row, row.ci_low)} to ${signed(row, row.ci_high)}` },
    { title: "q", number: true, value: (row) => row.q, cell: (row) => probability(row.q) },
    { title: "Verdict", value: (row) => row.verdict, cell: verdict },
  ], answer.syscalls.slice(0, FUNCTIONS_SHOWN));
}

const verdict = (row) => element("span", { class: `verdict ${row.verdict}`, title: row.explained_by ?? "" },
  row.explained_by ? `explained by ${row.explained_by}` : VERDICTS[row.verdict] ?? row.verdict);

const probability = (value) => (value < 0.0001 ? "< 0.0001" : value.toFixed(4));
