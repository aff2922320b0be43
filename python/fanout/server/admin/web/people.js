// Connections as rows, with what can be done about each.

import { call } from "./api.js";
import { channelAddress } from "./channels.js";
import { confirming, h, setText, sync } from "./dom.js";
import { duration, moment, plural } from "./format.js";

const NODE_NAME = 16;       // characters; a node without a name has a long one

export function connectionTable(page, channel = "") {
  const rows = h("tbody");
  const columns = ["User", "Connection", "For", channel ? null : "Channels", ""];
  const table = h("table", { className: "connections" },
    h("thead", {}, h("tr", {}, columns.filter((name) => name !== null).map((name) =>
      h("th", { scope: "col" }, name || h("span", { className: "visually-hidden" }, "Actions"))))),
    rows);
  const show = (connections, now) => sync(
    rows, connections, ({ client }) => client,
    (one) => connectionRow(page, one, channel),
    (row, one) => {
      setText(row.querySelector(".since"), duration(now - one.since));
      const list = row.querySelector(".names");
      if (list && !list.dataset.all) names(list, one, page);
    });
  return { table, show };
}

function connectionRow(page, one, channel) {
  const act = (method, request, done) => async () => {
    if (await page.attempt(() => call(method, request), done)) page.hurry();
  };
  return h("tr", {},
    h("td", { data: { label: "User" } }, one.user
      ? h("strong", { className: "name" }, one.user)
      : h("em", {}, "anonymous")),
    h("td", { data: { label: "Connection" } }, h("code", { title: one.client }, one.client),
      h("small", {}, `${one.node.slice(0, NODE_NAME)} · ${one.transport} · ${one.encoding}`)),
    h("td", { data: { label: "For" }, title: `since ${moment(one.since)}` }, h("span", { className: "since" })),
    channel ? null : h("td", { data: { label: "Channels" } }, h("ul", { className: "names" })),
    h("td", { className: "actions" },
      channel ? confirming("Unsubscribe", "Really?",
        act("unsubscribe", { channel, client: one.client }, `Unsubscribed from ${channel}.`)) : null,
      confirming("Disconnect", "Really?",
        act("disconnect", { client: one.client }, "Disconnected."))));
}

// `""`, which is no channel's name, stands for those that are not in the row.
function names(list, one, page) {
  const more = one.num_channels - one.channels.length;
  const items = more > 0 ? [...one.channels, ""] : one.channels;
  const create = (name) => h("li", {}, name
    ? h("a", { className: "name", href: channelAddress(name) }, name)
    : h("button", { type: "button", className: "quiet small", onclick: () => all(list, one, page) }));
  sync(list, items, (name) => name, create, (item, name) => {
    if (!name) setText(item.firstChild, `and ${plural(more, "other")}`);
  });
}

async function all(list, { client }, page) {
  const found = await page.attempt(() => page.ask("connections", { client }));
  if (!found?.connections.length) return;
  list.dataset.all = "true";
  names(list, found.connections[0], page);
}
