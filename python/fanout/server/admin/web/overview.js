// All nodes: what is there, and what flows.

import { Chart, spark } from "./chart.js";
import { h, setText, sync } from "./dom.js";
import { bytes, count, duration, milliseconds, percent, rate } from "./format.js";

const TILES = [
  ["clients", "Clients"], ["users", "Users"], ["channels", "Channels"],
  ["subscriptions", "Subscriptions"], ["dropped", "Dropped"], ["failed", "Failed"],
];
const COLUMNS = ["Node", "Up", "Clients", "Channels", "Delivered", "CPU", "Memory", "Lag"];

export function overview(page) {
  const figures = new Map(TILES.map(([name]) => [name, h("dd", { id: `tile-${name}` }, "–")]));
  const charts = [
    new Chart("Messages", [
      { name: "delivered", field: "delivered", color: "accent" },
      { name: "published", field: "published", color: "signal" },
    ], (value) => `${rate(value)}/s`, { shown: rate }),
    new Chart("Clients", [{ name: "connected", field: "clients", color: "good" }], count,
      { shown: rate }),
    new Chart("Sent", [{ name: "to clients", field: "bytes", color: "accent" }],
      (value) => `${bytes(value)}/s`, { least: 1000, shown: bytes }),
    new Chart("Coming and going", [
      { name: "connects", field: "connects", color: "good" },
      { name: "disconnects", field: "disconnects", color: "bad" },
    ], (value) => `${rate(value)}/s`, { shown: rate }),
  ];
  const rows = h("tbody");
  page.view.replaceChildren(
    h("h1", { className: "visually-hidden" }, "Overview"),
    h("dl", { className: "tiles" }, TILES.map(([name, label]) =>
      h("div", {}, h("dt", {}, label), figures.get(name)))),
    h("div", { className: "charts" }, charts.map(({ element }) => element)),
    h("section", { className: "card" },
      h("h2", {}, "Nodes"),
      h("table", { id: "nodes" },
        h("thead", {}, h("tr", {}, COLUMNS.map((name, index) =>
          h("th", { scope: "col", className: index > 1 ? "number" : "" }, name)))),
        rows)));

  function show() {
    const { nodes, missing } = page.system;
    for (const [name] of TILES) {
      setText(figures.get(name), count(nodes.reduce((sum, node) => sum + node[name], 0)));
    }
    const total = page.series.total();
    for (const chart of charts) chart.take(total);
    const gone = Object.entries(missing).map(([uid, why]) => ({ uid, name: uid, why }));
    sync(rows, [...nodes, ...gone], ({ uid }) => uid, () => nodeRow(), (row, node) =>
      fill(row, node, page));
  }
  if (page.system) show();
  return { onSystem: show, close: () => charts.forEach((chart) => chart.close()) };
}

function nodeRow() {
  return h("tr", {}, COLUMNS.map((name, index) =>
    h("td", { data: { label: name }, className: index > 1 ? "number" : "" },
      index === 0 ? [h("strong"), h("small")] : name === "Delivered" ? [h("canvas", { className: "spark" }), h("span")] : [])));
}

function fill(row, node, page) {
  const [name, up, clients, channels, delivered, cpu, memory, lag] = row.children;
  setText(name.firstChild, node.name);
  row.classList.toggle("trouble", Boolean(node.why || node.draining));
  if (node.why) {
    setText(name.lastChild, node.why);
    return;
  }
  const facts = [node.version, node.engine.split(" - ")[0]];
  if (node.name !== node.uid) facts.unshift(node.uid.slice(0, 8));
  if (node.draining) facts.unshift("shutting down");
  if (node.uid === page.system.own && page.system.nodes.length > 1) facts.unshift("this page's");
  setText(name.lastChild, facts.join(" · "));
  const samples = page.series.of(node.uid);
  const last = samples.at(-1);
  setText(up, duration(node.uptime));
  setText(clients, count(node.clients));
  setText(channels, count(node.channels));
  spark(delivered.firstChild, samples, "delivered");
  setText(delivered.lastChild, last ? `${rate(last.delivered)}/s` : "–");
  setText(cpu, last ? percent(last.cpu) : "–");
  setText(memory, bytes(node.memory));
  setText(lag, last ? milliseconds(last.lag) : "–");
}
