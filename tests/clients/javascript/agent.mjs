// The published client at another process's word: it makes clients and subscriptions, calls their
// methods, tells every event, and asks for what an application would be asked for. The same in Node
// and in a page; what goes to and fro is JSON, an object at a time.

const CLIENT_EVENTS = [
  "connecting", "connected", "disconnected", "error", "message",
  "subscribing", "subscribed", "unsubscribed", "publication", "join", "leave",
];
const SUBSCRIPTION_EVENTS = [
  "subscribing", "subscribed", "unsubscribed", "publication", "join", "leave", "error",
];

// `builds`: encoding -> class Centrifuge. `surroundings`: options for what this platform lacks.
export function agent({ builds, surroundings = {}, tell }) {
  const objects = new Map();
  const asked = new Map();
  let questions = 0;

  // The Protobuf build takes and gives bytes where the JSON one has values.
  function revive(value, binary) {
    if (Array.isArray(value)) return value.map((each) => revive(each, binary));
    if (value === null || typeof value !== "object") return value;
    if (!("$data" in value)) {
      return Object.fromEntries(
        Object.entries(value).map(([key, each]) => [key, revive(each, binary)]));
    }
    return binary ? new TextEncoder().encode(JSON.stringify(value.$data)) : value.$data;
  }

  function plain(value) {
    if (value instanceof Uint8Array) {
      return value.length ? JSON.parse(new TextDecoder().decode(value)) : null;
    }
    if (Array.isArray(value)) return value.map(plain);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  }

  function described(error) {
    return { code: error?.code ?? null, message: error?.message ?? String(error) };
  }

  function ask(of, what, binary, context) {
    const question = ++questions;
    tell({ ask: question, of, what, context: plain(context ?? {}) });
    return new Promise((resolve, reject) => asked.set(question, { resolve, reject, binary }));
  }

  function answer({ answer: question, value, refused }) {
    const { resolve, reject, binary } = asked.get(question);
    asked.delete(question);
    const { UnauthorizedError } = builds[binary ? "protobuf" : "json"];
    if (refused) reject(new UnauthorizedError(refused));
    else resolve(revive(value, binary));
  }

  function keep(name, target, events, binary) {
    objects.set(name, { target, binary });
    for (const event of events) {
      target.on(event, (context) => tell({ of: name, event, context: plain(context) }));
    }
  }

  function asking(name, asks, binary) {
    return Object.fromEntries(
      asks.map((what) => [what, (context) => ask(name, what, binary, context)]));
  }

  const work = {
    client({ name, encoding, endpoint, options, asks }) {
      const binary = encoding === "protobuf";
      const Centrifuge = builds[encoding];
      keep(name, new Centrifuge(endpoint, {
        ...surroundings, ...revive(options, binary), ...asking(name, asks, binary),
      }), CLIENT_EVENTS, binary);
    },
    subscription({ of, name, channel, options, asks }) {
      const { target, binary } = objects.get(of);
      keep(name, target.newSubscription(channel, {
        ...revive(options, binary), ...asking(name, asks, binary),
      }), SUBSCRIPTION_EVENTS, binary);
    },
    async call({ of, method, args }) {
      const { target, binary } = objects.get(of);
      return plain(await target[method](...revive(args, binary)));
    },
    // All begin before any ends: what one frame of several commands is made of.
    async together({ of, calls }) {
      const { target, binary } = objects.get(of);
      target.startBatching();
      const under_way = calls.map(([method, ...args]) => target[method](...revive(args, binary)));
      target.stopBatching();
      return plain(await Promise.all(under_way));
    },
    read({ of, property }) {
      return plain(objects.get(of).target[property]);
    },
    forget({ of }) {
      objects.get(of).target.disconnect();
      for (const name of [...objects.keys()]) {
        if (name === of || name.startsWith(`${of}/`)) objects.delete(name);
      }
    },
  };

  return async function receive(message) {
    if ("answer" in message) {
      answer(message);
      return;
    }
    try {
      tell({ id: message.id, result: await work[message.do](message) ?? null });
    } catch (error) {
      tell({ id: message.id, error: described(error) });
    }
  };
}
