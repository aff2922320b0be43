// Who is connected to any of the nodes.

import { h, setText } from "./dom.js";
import { plural } from "./format.js";
import { connectionTable } from "./people.js";

export function connections(page) {
  const search = h("input", {
    id: "search", type: "search", placeholder: "User or connection id", autocomplete: "off",
    spellcheck: false, "aria-label": "Search connections", oninput: () => page.hurry(),
  });
  const summary = h("p", { className: "summary", id: "summary", role: "status" });
  const { table, show } = connectionTable(page);
  table.id = "connections";
  page.view.replaceChildren(
    h("div", { className: "bar" }, h("h1", {}, "Connections"), search, summary),
    h("section", { className: "card" }, table));

  async function refresh() {
    const match = search.value;
    const found = await page.ask("connections", { match });
    if (search.value !== match) return;
    show(found.connections, page.now);
    const what = match ? `${plural(found.total, "connection")} with “${match}”` : plural(found.total, "connection");
    setText(summary, found.connections.length < found.total ? `${what}, the newest ${found.connections.length} shown` : what);
  }
  return { every: 2000, refresh };
}
