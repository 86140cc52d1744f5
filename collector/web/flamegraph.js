// One flame graph with its functions as a table.

import { ask } from "./api.js";
import { ofFunction } from "./colour.js";
import { element, notice, table } from "./dom.js";
import { FlameView, kindOf, nameOf, shareText } from "./flameview.js";
import { cores, count, percent, time } from "./format.js";
import { functions, readTree } from "./layout.js";
import { ofKinds } from "./legend.js";
import { trustOf } from "./quality.js";
import { selection } from "./state.js";

const FUNCTIONS_SHOWN = 100;

export async function showFlamegraph({ main, state, catalog, signal, update, brief = false }) {
  const all = state.service === "*" || !state.service;
  const question = { ...selection(state), service: all ? "*" : state.service };
  const [answer, quality] = await Promise.all([ask("flamegraph", question, signal), ask("quality", question, signal)]);
  if (answer.total === 0) {
    main.replaceChildren(notice(`No samples of ${all ? "any service" : state.service} here`,
      element("p", {}, "Choose a longer time range, or another version, host or unit.")));
    return null;
  }
  const tree = readTree(answer, 1);
  const used = answer.cpu_ns / 1e9 / catalog.seconds;
  const facts = (node) => [
    ["samples", `${count(tree.total[0][node])} (self ${count(tree.self[0][node])})`],
    ["share", shareText(tree, 0, node)],
    ["self", percent(tree.self[0][node] / answer.total)],
    ["CPU cores", cores(used * tree.total[0][node] / answer.total)],
  ];
  const view = new FlameView({
    tree, facts, legend: ofKinds(), label: `Flame graph of ${all ? "all services" : state.service}`,
    zoom: state.zoom, searched: state.search, onchange: update,
    fill: (node, dark) => ofFunction(kindOf(tree, node), nameOf(tree, node), dark),
  });
  const title = element(brief ? "h2" : "h1", {}, all ? "All services" : state.service);
  const text = `${count(answer.total)} samples · ${cores(used)} CPU cores · ${time(answer.from)} to ${time(answer.to)}`;
  const head = element("div", { class: "heading" }, title, element("span", { class: "facts" }, text), trust(quality),
    element("div", { class: "tools" }, pprof(state, all)));
  if (brief) {
    main.replaceChildren(head, view.node);
  } else {
    main.replaceChildren(element("section", { class: "panel" }, head, view.node),
      element("section", { class: "panel" }, element("h2", {}, "Functions"), list(tree, answer.total, view)));
  }
  view.draw();
  return view;
}

function trust(quality) {
  const trusted = trustOf(quality);
  return trusted && element("span", { class: `facts${trusted.warn ? " warn" : ""}`, title: trusted.details.join("\n") }, trusted.text);
}

function pprof(state, all) {
  if (all) return null;
  const query = new URLSearchParams(selection(state));
  return element("a", { class: "chip", href: `debug/pprof/profile?${query}`, download: "profile.pb.gz", title: "For go tool pprof" }, "download pprof");
}

function list(tree, total, view) {
  const rows = functions(tree);
  const shown = rows.slice(0, FUNCTIONS_SHOWN);
  const seek = (row) => {
    view.input.value = row.name;
    view.find(row.name);
    view.node.scrollIntoView({ block: "center" });
  };
  return table(`The ${shown.length} of ${count(rows.length)} functions with the most self time`, [
    { title: "Function", value: (row) => row.name, cell: (row) => [
      element("button", { type: "button", class: "link", title: "Find it in the flame graph", onclick: () => seek(row) }, row.name),
      element("span", { class: "module" }, row.module)] },
    { title: "Self", number: true, value: (row) => row.self, cell: (row) => percent(row.self / total) },
    { title: "", cell: (row) => bar(row.self / rows[0].self) },
    { title: "Total", number: true, value: (row) => row.total, cell: (row) => percent(row.total / total) },
    { title: "Samples", number: true, value: (row) => row.self, cell: (row) => count(row.self) },
  ], shown, "Self");
}

function bar(share) {
  const made = element("span", { class: "bar", "aria-hidden": "true" });
  made.style.width = `${Math.max(1, Math.round(share * 120))}px`;
  return made;
}
