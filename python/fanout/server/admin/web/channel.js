// One channel: who is there, what it keeps, and publishing into it by hand.

import { call, Refused } from "./api.js";
import { confirming, h, setText, sync } from "./dom.js";
import { plural } from "./format.js";
import { connectionTable } from "./people.js";

const NOT_AVAILABLE = 108;
const HISTORY = 50;

export function channel(page, name) {
  const summary = h("p", { className: "summary", id: "summary", role: "status" });
  const { table, show } = connectionTable(page, name);
  table.id = "subscribers";
  const publisher = publishForm(page, name);
  const history = historyPanel(page, name);
  const presence = presencePanel(name);
  page.view.replaceChildren(
    h("div", { className: "bar" },
      h("h1", { className: "name" }, name), summary,
      h("a", { href: "#/channels" }, "All channels")),
    h("div", { className: "columns" },
      h("div", {},
        publisher,
        history.element),
      h("div", {},
        h("section", { className: "card" }, h("h2", {}, "Subscribers"), table),
        presence.element)));

  async function refresh() {
    const [found] = await Promise.all([
      page.ask("connections", { channel: name }), history.refresh(), presence.refresh()]);
    show(found.connections, page.now);
    setText(summary, found.connections.length < found.total
      ? `${plural(found.total, "subscriber")}, ${found.connections.length} shown`
      : plural(found.total, "subscriber"));
  }
  return { every: 2000, refresh };
}

function publishForm(page, name) {
  const data = h("textarea", {
    id: "data", rows: 4, spellcheck: false, placeholder: '{"text": "hello"}', required: true,
    "aria-describedby": "data-state",
  });
  const state = h("p", { id: "data-state", className: "hint" }, "JSON, sent as it is.");
  const send = h("button", { type: "submit", id: "publish", disabled: true }, "Publish");
  const valid = () => {
    try {
      JSON.parse(data.value);
      return true;
    } catch {
      return false;
    }
  };
  data.addEventListener("input", () => {
    send.disabled = !valid();
    setText(state, send.disabled && data.value ? "This is not JSON yet." : "JSON, sent as it is.");
  });
  data.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !send.disabled) form.requestSubmit();
  });
  const form = h("form", {
    className: "card publish",
    onsubmit: async (event) => {
      event.preventDefault();
      send.disabled = true;
      const answer = await page.attempt(() => call("publish",
        `{"channel":${JSON.stringify(name)},"data":${data.value}}`));
      send.disabled = !valid();
      if (!answer) return;
      const { offset } = answer.result;
      setText(state, offset ? `Published, with offset ${offset}.` : "Published.");
      page.hurry();
    },
  }, h("h2", {}, h("label", { htmlFor: "data" }, "Publish")), data, h("div", { className: "row" }, state, send));
  return form;
}

function historyPanel(page, name) {
  const list = h("ol", { className: "history", id: "history", reversed: true });
  const hint = h("p", { className: "hint" });
  const forget = confirming("Remove", "Remove all?", async () => {
    if (await page.attempt(() => call("history_remove", { channel: name }), "The history is removed.")) page.hurry();
  });
  const element = h("section", { className: "card" },
    h("h2", {}, "History", forget), hint, list);

  async function refresh() {
    const found = await optional(() => call("history", { channel: name, limit: HISTORY, reverse: true }));
    forget.hidden = !found || !found.result.publications.length;
    const publications = found ? found.result.publications : [];
    setText(hint, !found ? "This channel keeps none."
      : !publications.length ? "Nothing is kept now."
      : `The stream is at offset ${found.result.offset}.`);
    sync(list, publications, ({ offset }) => `${found.result.epoch} ${offset}`, publicationRow, () => {});
  }
  return { element, refresh };
}

function publicationRow({ offset, data, b64data, info, tags }) {
  const text = b64data ? `base64: ${b64data}` : JSON.stringify(data);
  const facts = [];
  if (info) facts.push(info.user || "anonymous");
  for (const [key, value] of Object.entries(tags ?? {})) facts.push(`${key}=${value}`);
  return h("li", {},
    h("span", { className: "offset" }, String(offset)),
    h("details", {},
      h("summary", {}, h("code", {}, text)),
      h("pre", {}, b64data ? text : JSON.stringify(data, null, 2))),
    facts.length ? h("small", {}, facts.join(" · ")) : null);
}

function presencePanel(name) {
  const list = h("ul", { className: "presence", id: "presence" });
  const hint = h("p", { className: "hint" });
  const element = h("section", { className: "card" }, h("h2", {}, "Presence"), hint, list);

  async function refresh() {
    const found = await optional(() => call("presence", { channel: name }));
    const present = found ? Object.values(found.result.presence) : [];
    setText(hint, !found ? "This channel keeps none."
      : !present.length ? "Nobody is there."
      : present.length < found.total ? `${found.total} are there, ${present.length} shown.`
      : `${plural(found.total, "connection")}, ${plural(new Set(present.map(({ user }) => user)).size, "user")}.`);
    sync(list, present, ({ client }) => client, ({ user, client, conn_info: info }) =>
      h("li", {}, h("strong", { className: "name" }, user || "anonymous"),
        h("code", { title: client }, client), info ? h("small", {}, JSON.stringify(info)) : null), () => {});
  }
  return { element, refresh };
}

// What a channel may not have: null then.
async function optional(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Refused && error.status === NOT_AVAILABLE) return null;
    throw error;
  }
}
