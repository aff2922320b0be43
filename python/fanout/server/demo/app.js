// The page: ties the connection, the room and the views together.

import { CommandError, Connection } from "./connection.js";
import { Fan } from "./fan.js";
import { Identity, tidyName } from "./identity.js";
import { Log, readMessage } from "./log.js";
import { Room } from "./room.js";

const CHANNEL = "room:lobby";
const TEXT_LIMIT = 500;
const REMAINING_SHOWN_FROM = 100;
const RATE_WINDOW_S = 5;

// Made once: a formatter costs more than what it formats.
const whole = new Intl.NumberFormat();
const at = (id) => document.getElementById(id);
const state = at("state");
const stateText = at("state-text");
const stateWait = at("state-wait");
const retry = at("retry");
const name = at("name");
const text = at("text");
const notice = at("notice");
const remaining = at("remaining");

const identity = new Identity(sessionStorage);
const log = new Log({ view: at("log"), list: at("messages"), empty: at("empty"), jump: at("jump") });
const fan = new Fan({ lines: at("lines"), people: at("people"), count: at("count") });

const title = document.title;
let wasOnline = false;
let unread = 0;
let delivered = 0;
let perSecond = new Array(RATE_WINDOW_S).fill(0);
// Messages sent and not yet seen to arrive: {client, text, sentAt}.
let unconfirmed = [];

const url = new URL("/connection/websocket", location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";

const connection = new Connection(
  url.href,
  () => ({ name: "fanout-demo", data: { name: identity.name } }),
  {
    state: showState,
    session: async () => {
      identity.addClient(connection.client);
      await room.join();
      log.loaded();
      say("");
      giveBackUnsent();
    },
    push: (push) => room.push(push),
  },
);

const room = new Room(connection, CHANNEL, {
  messages: showMessages,
  lost: (count) => {
    if (!count) log.mark("The server started over: its earlier history is gone");
    else log.mark(count === 1 ? "1 message expired before it could be fetched" : `${count} messages expired before they could be fetched`);
  },
  people: (people) => fan.show(people, (client) => client === connection.client),
  removed: (code, reason) => showState("closed", { code, reason }),
});

function showState(kind, { delay, code, reason }) {
  document.documentElement.dataset.connection = kind;
  state.dataset.state = kind;
  retry.hidden = kind !== "closed" && kind !== "waiting";
  retry.textContent = kind === "waiting" ? "Now" : "Reconnect";
  // Screen readers hear a change of the sentence, not each of the attempts.
  const sentence = {
    connecting: wasOnline ? "Reconnecting" : "Connecting",
    online: "Live",
    waiting: "Reconnecting",
    closed: `Closed: ${reason || "no reason given"} (${code})`,
  }[kind];
  if (stateText.textContent !== sentence) stateText.textContent = sentence;
  stateWait.textContent = kind === "waiting" ? `in ${Math.max(1, Math.round(delay / 1000))} s` : "";
  if (kind === "online") wasOnline = true;
}

function showMessages(publications, origin) {
  const live = origin === "live";
  const now = Date.now();
  if (origin === "missed") {
    const count = publications.length;
    log.mark(count === 1 ? "Reconnected: 1 message caught up" : `Reconnected: ${count} messages caught up`);
  }
  for (const publication of publications) {
    const message = readMessage(publication, live ? now : null);
    const own = identity.owns(message.client);
    if (own) confirm(message);
    log.add([message], { own, live });
  }
  if (origin === "history") {
    const count = publications.length;
    log.mark(count === 1 ? "1 message from history, live from here" : `${count} messages from history, live from here`);
  }
  delivered += publications.length;
  at("delivered").textContent = whole.format(delivered);
  if (!live) return;
  perSecond[0] += publications.length;
  fan.pulse();
  if (document.hidden) {
    unread += publications.length;
    document.title = `(${unread}) ${title}`;
  }
}

function confirm({ client, text: arrived }) {
  const index = unconfirmed.findIndex((sent) => sent.client === client && sent.text === arrived);
  if (index < 0) return;
  const [{ sentAt }] = unconfirmed.splice(index, 1);
  const trip = performance.now() - sentAt;
  at("trip").textContent = trip < 9.95 ? `${trip.toFixed(1)} ms` : `${whole.format(Math.round(trip))} ms`;
}

/** After a reconnect: what the server never got goes back to its writer. */
function giveBackUnsent() {
  const unsent = unconfirmed.filter(({ client }) => client !== connection.client);
  unconfirmed = unconfirmed.filter(({ client }) => client === connection.client);
  if (!unsent.length) return;
  giveBack(unsent.map((sent) => sent.text).join("\n"));
  say("The connection broke before this was sent. Send it again?");
}

function giveBack(unsent) {
  text.value = [unsent, text.value].filter(Boolean).join("\n");
  fitText();
}

function say(sentence) {
  notice.textContent = sentence;
}

async function send() {
  const value = text.value.trim();
  if (!value) return;
  if (value.length > TEXT_LIMIT) {
    say(`A message has at most ${TEXT_LIMIT} characters; this one has ${value.length}.`);
    return;
  }
  if (state.dataset.state !== "online") {
    say("Not connected. Your text stays here until the room is back.");
    return;
  }
  say("");
  text.value = "";
  fitText();
  log.toEnd();
  const sent = { client: connection.client, text: value, sentAt: performance.now() };
  unconfirmed.push(sent);
  try {
    await room.publish({ name: identity.name, text: value, at: Date.now() });
  } catch (error) {
    // A lost connection leaves it open whether the message got through; the
    // history tells once we are back.
    if (!(error instanceof CommandError)) return;
    unconfirmed = unconfirmed.filter((each) => each !== sent);
    giveBack(value);
    say(`The server refused the message: ${error.message}.`);
  }
}

function fitText() {
  text.style.height = "";
  // The empty field keeps its one row whatever its placeholder needs.
  if (text.value) text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  const left = TEXT_LIMIT - text.value.length;
  remaining.hidden = left > REMAINING_SHOWN_FROM;
  remaining.textContent = `${left} left`;
}

function rename() {
  const chosen = tidyName(name.value);
  name.value = chosen || identity.name;
  if (!chosen || chosen === identity.name) return;
  identity.name = chosen;
  // The others' list shows the name that the connection was made with.
  connection.restart();
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
text.addEventListener("keydown", (event) => {
  // While an input method composes, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
text.addEventListener("input", fitText);
name.addEventListener("change", rename);
name.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  rename();
  text.focus();
});
retry.addEventListener("click", () => connection.restart());
addEventListener("online", () => connection.hurry());
addEventListener("pageshow", (event) => event.persisted && connection.restart());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  connection.hurry();
  unread = 0;
  document.title = title;
});
setInterval(() => {
  const rate = perSecond.reduce((sum, count) => sum + count, 0) / RATE_WINDOW_S;
  at("rate").textContent = rate < 99.95 ? rate.toFixed(1) : whole.format(Math.round(rate));
  perSecond = [0, ...perSecond.slice(0, -1)];
}, 1000);

name.value = identity.name;
fitText();
connection.restart();
