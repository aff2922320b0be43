// The last minutes of every node, second by second, and of them all together.

export const KEPT = 300;
const SUMMED = ["clients", "published", "delivered", "dropped", "bytes", "connects", "disconnects"];

export class Series {
  constructor() {
    this.nodes = new Map();
  }

  // How many seconds to ask for.
  get wanted() {
    const newest = this.newest();
    return newest && Date.now() / 1000 - newest < 5 ? 10 : KEPT;
  }

  take(nodes) {
    const uids = new Set(nodes.map(({ uid }) => uid));
    for (const uid of this.nodes.keys()) if (!uids.has(uid)) this.nodes.delete(uid);
    for (const { uid, samples } of nodes) {
      const kept = this.nodes.get(uid) ?? new Map();
      for (const sample of samples) kept.set(sample.t, sample);
      const oldest = Math.max(...kept.keys()) - KEPT;
      for (const t of kept.keys()) if (t <= oldest) kept.delete(t);
      this.nodes.set(uid, kept);
    }
  }

  // The last second that all nodes which still tell have told of.
  newest() {
    const last = [...this.nodes.values()].filter(({ size }) => size)
      .map((kept) => Math.max(...kept.keys()));
    const latest = Math.max(0, ...last);
    return Math.min(...last.filter((t) => t > latest - 5), latest);
  }

  total() {
    const end = this.newest();
    const sums = new Map();
    for (const kept of this.nodes.values()) {
      for (const [t, sample] of kept) {
        if (t > end) continue;
        let sum = sums.get(t);
        if (!sum) sums.set(t, (sum = { t, ...Object.fromEntries(SUMMED.map((name) => [name, 0])) }));
        for (const name of SUMMED) sum[name] += sample[name];
      }
    }
    return [...sums.values()].sort((a, b) => a.t - b.t);
  }

  of(uid) {
    return [...(this.nodes.get(uid)?.values() ?? [])].sort((a, b) => a.t - b.t);
  }
}
