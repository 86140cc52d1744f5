// Latencies and errors of each syscall; calls that wait by design apart.

import { ask } from "./api.js";
import { element, notice, table } from "./dom.js";
import { count, duration, percent } from "./format.js";
import { selection } from "./state.js";

const ERRNOS = {
  1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 5: "EIO", 9: "EBADF", 10: "ECHILD", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES",
  14: "EFAULT", 16: "EBUSY", 17: "EEXIST", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL", 24: "EMFILE", 25: "ENOTTY", 27: "EFBIG", 28: "ENOSPC",
  29: "ESPIPE", 32: "EPIPE", 38: "ENOSYS", 61: "ENODATA", 88: "ENOTSOCK", 95: "EOPNOTSUPP", 98: "EADDRINUSE", 104: "ECONNRESET",
  106: "EISCONN", 107: "ENOTCONN", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 115: "EINPROGRESS",
};

export async function showSyscalls({ main, state, signal }) {
  const { syscalls } = await ask("syscalls", selection(state), signal);
  if (syscalls.length === 0) {
    main.replaceChildren(notice(`No syscalls of ${state.service} here`,
      element("p", {}, "Choose a longer time range, or another version, host or unit. An agent that runs without syscall tracing sends none; "
        + "flamewatch-agent check says whether this host supports it.")));
    return null;
  }
  const working = syscalls.filter((call) => !call.waiting);
  const waiting = syscalls.filter((call) => call.waiting);
  main.replaceChildren(element("section", { class: "panel tall" }, element("h1", {}, `Syscalls of ${state.service}`), list("Calls that do work, by time spent", working)),
    waiting.length > 0 ? element("section", { class: "panel tall" }, element("h2", {}, "Waiting by design"),
      list("These wait for input, a timer or another thread; long ones are normal", waiting)) : "");
  return null;
}

function list(caption, rows) {
  const latency = (title, key) => ({ title, number: true, value: (row) => row[key], cell: (row) => duration(row[key]) });
  const failed = (row) => Object.values(row.errors).reduce((sum, calls) => sum + calls, 0);
  return table(caption, [
    { title: "Syscall", value: (row) => row.name, cell: (row) => row.name },
    { title: "Calls", number: true, value: (row) => row.calls, cell: (row) => count(row.calls) },
    { title: "Time", number: true, value: (row) => row.sum_ns, cell: (row) => duration(row.sum_ns) },
    latency("p50", "p50_ns"), latency("p95", "p95_ns"), latency("p99", "p99_ns"), latency("Max", "max_ns"),
    { title: "Failed", number: true, value: (row) => failed(row) / row.calls, cell: (row) => (failed(row) > 0 ? percent(failed(row) / row.calls) : "–") },
    { title: "Errors", cell: (row) => Object.entries(row.errors).filter(([, calls]) => calls > 0).map(([errno, calls]) =>
      element("span", { class: "chip" }, `${ERRNOS[errno] ?? `errno ${errno}`} ${count(calls)}`)) },
  ], rows, "Time");
}
