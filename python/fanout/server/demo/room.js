// One channel with history and presence: every message exactly once and in
// order across lost connections, and who is subscribed at this moment.

import { CommandError, ConnectionLost } from "./connection.js";

const ERROR_UNRECOVERABLE_POSITION = 112;
const UNSUBSCRIBED_FOR_GOOD_BELOW = 2500;
const PRESENCE_REFRESH_MS = 30_000;

export class Room {
  #connection;
  #channel;
  #handlers;
  #offset = 0;
  #epoch = "";
  #held = null; // live publications that wait for the history before them
  #people = new Map();
  #moved = null; // who came or left while a presence reply was on its way
  #refresh = 0;

  /**
   * @param {Connection} connection
   * @param {string} channel
   * @param {object} handlers
   *   messages(publications, origin): origin is "live", "history" on the first load,
   *     "missed" after a reconnect
   *   lost(count): publications that ended before they could be fetched; 0 when the
   *     server began a new history and the number is unknown
   *   people(map): client id -> ClientInfo, whenever it changes
   *   removed(code, reason): the server took the subscription away for good
   */
  constructor(connection, channel, handlers) {
    this.#connection = connection;
    this.#channel = channel;
    this.#handlers = handlers;
  }

  /** Publishes; see Connection.request for how it fails. */
  publish(data) {
    return this.#connection.request("publish", { channel: this.#channel, data });
  }

  /** Subscribes anew on a fresh connection and fetches what was missed. */
  async join() {
    this.#held = [];
    await Promise.all([
      this.#connection.request("subscribe", { channel: this.#channel }),
      this.#loadPeople(),
      this.#catchUp(),
    ]);
    clearInterval(this.#refresh);
    // Joins and leaves tell at once; the list itself is asked for now and then
    // because a server that dies cannot say who left with it.
    this.#refresh = setInterval(() => this.#inBackground(this.#loadPeople()), PRESENCE_REFRESH_MS);
  }

  /** Takes a push of the connection. */
  push({ channel, pub, join, leave, unsubscribe }) {
    if (channel !== this.#channel) return;
    if (pub) this.#take(pub);
    else if (join) this.#move(join.info, true);
    else if (leave) this.#move(leave.info, false);
    else if (unsubscribe) {
      clearInterval(this.#refresh);
      if (unsubscribe.code < UNSUBSCRIBED_FOR_GOOD_BELOW) {
        this.#handlers.removed(unsubscribe.code, unsubscribe.reason);
      } else {
        this.#inBackground(this.join());
      }
    }
  }

  #take(pub) {
    if (this.#held) {
      this.#held.push(pub);
      return;
    }
    const { offset = 0, epoch = this.#epoch } = pub;
    if (epoch === this.#epoch && offset && offset <= this.#offset) return;
    if (epoch !== this.#epoch || offset > this.#offset + 1) {
      this.#held = [pub];
      this.#inBackground(this.#catchUp());
      return;
    }
    if (offset) this.#offset = offset;
    this.#handlers.messages([pub], "live");
  }

  /** Reads the history after the last known position, then lets go of what was held. */
  async #catchUp() {
    let origin = this.#epoch ? "missed" : "history";
    let top;
    do {
      const params = { channel: this.#channel, limit: -1 };
      if (this.#epoch) params.since = { offset: this.#offset, epoch: this.#epoch };
      let reply;
      try {
        reply = await this.#connection.request("history", params);
      } catch (error) {
        if (!(error instanceof CommandError && error.code === ERROR_UNRECOVERABLE_POSITION)) throw error;
        // The server began a new history, as it does when it restarts with its
        // history in memory: everything it has now is new to us.
        this.#epoch = "";
        this.#offset = 0;
        top = undefined;
        this.#handlers.lost(0);
        continue;
      }
      const fresh = reply.publications.filter(({ offset }) => offset > this.#offset);
      const known = Boolean(this.#epoch);
      this.#epoch = reply.epoch;
      top = reply.offset;
      // One answer is limited, so the top may lie beyond what it carries; an
      // empty one says that the rest has expired.
      const reached = fresh.length ? fresh[fresh.length - 1].offset : top;
      const skipped = (fresh.length ? fresh[0].offset - 1 : top) - this.#offset;
      if (known && skipped > 0) this.#handlers.lost(skipped);
      this.#offset = reached;
      if (fresh.length) this.#handlers.messages(fresh, origin);
    } while (top === undefined || this.#offset < top);
    // History is written before the push leaves, so what was held either came
    // with it or follows on.
    const late = (this.#held ?? []).filter(({ offset = 0 }) => !offset || offset > this.#offset);
    this.#held = null;
    if (!late.length) return;
    this.#offset = Math.max(this.#offset, ...late.map(({ offset = 0 }) => offset));
    this.#handlers.messages(late, "live");
  }

  async #loadPeople() {
    const moved = new Map();
    this.#moved = moved;
    const { presence = {} } = await this.#connection.request("presence", { channel: this.#channel });
    if (this.#moved !== moved) return;
    this.#moved = null;
    this.#people = new Map(Object.entries(presence));
    for (const [client, info] of moved) {
      if (info) this.#people.set(client, info);
      else this.#people.delete(client);
    }
    this.#handlers.people(this.#people);
  }

  #move(info, here) {
    // A reply on its way may be older than this push, so it is applied once more on top.
    this.#moved?.set(info.client, here ? info : null);
    if (here) this.#people.set(info.client, info);
    else this.#people.delete(info.client);
    this.#handlers.people(this.#people);
  }

  /** For work nobody waits for: a fault starts the session over, which repeats it. */
  #inBackground(work) {
    work.catch((error) => {
      if (!(error instanceof ConnectionLost)) this.#connection.restart();
    });
  }
}
