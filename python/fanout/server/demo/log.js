// The list of messages. Whatever others wrote enters the page as text nodes.

import { hueOf } from "./identity.js";

// Old rows go, so that a page left open for days stays light.
const ROWS_KEPT = 500;
const TEXT_SHOWN = 4000;
const GROUP_WITHIN_MS = 120_000;
const NEAR_END_PX = 80;
const FLUSH_MS = 16;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** What a publication says, whoever made it and in whatever shape. */
export function readMessage({ data, info, offset = 0 }, receivedAt) {
  const plain = data !== null && typeof data === "object" && typeof data.text === "string";
  const name = [data?.name, info?.conn_info?.name].find((each) => typeof each === "string" && each.trim());
  // The protocol gives clients no time. A live message was sent just now; an
  // older one is dated by its sender, if it says so.
  const at = receivedAt ?? (Number.isSafeInteger(data?.at) && data.at > 0 ? data.at : null);
  return {
    offset,
    at: at !== null && Number.isNaN(new Date(at).getTime()) ? null : at,
    plain,
    name: (name ?? "Someone").trim().slice(0, 64),
    client: info?.client ?? "",
    text: (plain ? data.text : JSON.stringify(data)).slice(0, TEXT_SHOWN),
  };
}

export class Log {
  #view;
  #list;
  #empty;
  #jump;
  #queue = [];
  #timer = 0;
  #last = null;
  #unseen = 0;

  constructor({ view, list, empty, jump }) {
    this.#view = view;
    this.#list = list;
    this.#empty = empty;
    this.#jump = jump;
    jump.addEventListener("click", () => {
      this.toEnd();
      view.focus({ preventScroll: true });
    });
    view.addEventListener("scroll", () => this.#atEnd() && this.#seen(), { passive: true });
    // A resize, as by a phone's keyboard, must not push the newest message out of sight.
    let wasAtEnd = true;
    view.addEventListener("scroll", () => (wasAtEnd = this.#atEnd()), { passive: true });
    new ResizeObserver(() => wasAtEnd && this.toEnd()).observe(view);
  }

  /** Adds messages made by readMessage; `own` and `live` apply to all of them. */
  add(messages, { own = false, live = false } = {}) {
    for (const message of messages) this.#enqueue(() => this.#row(message, own), live && !own);
  }

  /** Adds a line that tells what happened to the stream itself. */
  mark(text) {
    this.#enqueue(() => {
      this.#last = null;
      return element("li", "divider", text);
    }, false);
  }

  /** Says that the history is in, and shows the invitation if there was none. */
  loaded() {
    this.#flush();
    this.#view.setAttribute("aria-busy", "false");
    this.#empty.hidden = this.#list.childElementCount > 0;
  }

  toEnd() {
    this.#view.scrollTop = this.#view.scrollHeight;
    this.#seen();
  }

  #enqueue(build, counts) {
    this.#queue.push({ build, counts });
    // A burst becomes one change of the page; a timer and not an animation
    // frame, because hidden tabs get none.
    this.#timer ||= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const batch = this.#queue.splice(0);
    if (!batch.length) return;
    const stay = this.#atEnd();
    const rows = document.createDocumentFragment();
    // In a flood, rows that would be dropped at once are not even made.
    for (const { build } of batch.slice(-ROWS_KEPT)) rows.append(build());
    this.#empty.hidden = true;
    this.#list.append(rows);
    while (this.#list.childElementCount > ROWS_KEPT) this.#list.firstElementChild.remove();
    if (stay) {
      this.toEnd();
    } else {
      this.#unseen += batch.filter(({ counts }) => counts).length;
      this.#showJump();
    }
  }

  #row({ offset, at, plain, name, client, text }, own) {
    const last = this.#last;
    const follows =
      last && last.client === client && last.name === name && at !== null && last.at !== null &&
      Math.abs(at - last.at) < GROUP_WITHIN_MS;
    this.#last = { client, name, at };

    const row = element("li", "message");
    row.classList.toggle("own", own);
    row.classList.toggle("follows", Boolean(follows));
    if (offset) row.dataset.offset = offset;

    const number = element("span", "offset", offset ? String(offset) : "");
    number.title = "Offset in the channel's history";
    number.setAttribute("aria-hidden", "true");

    const head = element("p", "head");
    const author = element("bdi", "author", name);
    author.style.setProperty("--hue", hueOf(name));
    head.append(author);
    if (own) head.append(element("span", "you", "you"));
    const when = element("time", "", at === null ? "earlier" : clock.format(at));
    if (at !== null) {
      when.dateTime = new Date(at).toISOString();
      when.title = full.format(at);
    }
    head.append(when);

    const body = element("p", plain ? "text" : "text raw", text);
    body.dir = "auto";
    row.append(number, head, body);
    return row;
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#view;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  #seen() {
    this.#unseen = 0;
    this.#showJump();
  }

  #showJump() {
    this.#jump.hidden = this.#unseen === 0;
    this.#jump.textContent = this.#unseen === 1 ? "1 new message" : `${this.#unseen} new messages`;
  }
}
