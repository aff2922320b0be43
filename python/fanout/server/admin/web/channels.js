// The channels with the most subscribers, of all nodes.

import { h, setText, sync } from "./dom.js";
import { count, plural } from "./format.js";

export const channelAddress = (name) => `#/channel/${encodeURIComponent(name)}`;

export function channels(page) {
  const search = h("input", {
    id: "search", type: "search", placeholder: "Part of a name", autocomplete: "off",
    spellcheck: false, "aria-label": "Search channels", oninput: () => page.hurry(),
  });
  // Also one in which nobody is: it may have a history, and can be published into.
  const named = h("input", {
    id: "name", placeholder: "Open by its name", autocomplete: "off", spellcheck: false,
    required: true, "aria-label": "Open the channel with this name",
  });
  const open = h("form", {
    className: "opening",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = channelAddress(named.value);
    },
  }, named, h("button", { type: "submit", id: "open" }, "Open"));
  const summary = h("p", { className: "summary", id: "summary", role: "status" });
  const rows = h("tbody");
  page.view.replaceChildren(
    h("div", { className: "bar" }, h("h1", {}, "Channels"), search, open, summary),
    h("section", { className: "card" },
      h("table", { id: "channels" },
        h("thead", {}, h("tr", {},
          h("th", { scope: "col" }, "Channel"),
          h("th", { scope: "col", className: "number" }, "Subscribers"),
          h("th", { scope: "col", "aria-hidden": "true" }))),
        rows)));

  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && search.value) location.hash = channelAddress(search.value);
  });

  async function refresh() {
    const match = search.value;
    const found = await page.ask("channels", { match });
    if (search.value !== match) return;
    const most = Math.max(1, ...found.channels.map(({ subscribers }) => subscribers));
    sync(rows, found.channels, ({ name }) => name, channelRow, (row, { subscribers }) => {
      setText(row.children[1], count(subscribers));
      row.children[2].firstChild.value = subscribers / most;
    });
    const what = match ? `${plural(found.total, "channel")} with “${match}”` : plural(found.total, "channel");
    setText(summary, found.channels.length < found.total ? `${what}, the largest ${found.channels.length} shown` : what);
  }
  return { every: 2000, refresh };
}

function channelRow({ name }) {
  return h("tr", {},
    h("td", { data: { label: "Channel" } }, h("a", { className: "name", href: channelAddress(name) }, name)),
    h("td", { className: "number", data: { label: "Subscribers" } }),
    h("td", { className: "share" }, h("meter", { max: 1, "aria-hidden": "true" })));
}
