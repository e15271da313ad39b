// What the page knows: the pools and servers that the stream tells of, and short series of their figures.

const seriesLength = 300; // points that are kept of a figure
const seriesAtMost = 500; // servers of which series are kept; of more only those that are looked at

export const outKinds = new Set(['gone', 'draining', 'maintenance', 'unhealthy', 'unreachable', 'ejected', 'silent', 'canary-held-back']);

// family returns the icon and colour of a state: up, out, less, drained, gone or warming.
export function family(state) {
	switch (state) {
	case 'up': return 'up';
	case 'warming': return 'warming';
	case 'draining': case 'maintenance': return 'drained';
	case 'gone': return 'gone';
	case 'unhealthy': case 'unreachable': case 'ejected': case 'silent': return 'out';
	}
	return 'less'; // full, held-back, canary-held-back, unreachable-from-edge, name-fails
}

// Series is the last values of a few figures with their times, in seconds.
export class Series {
	constructor(names) {
		this.names = names;
		this.times = [];
		this.values = names.map(() => []);
	}
	add(time, values) {
		this.times.push(time);
		values.forEach((v, i) => this.values[i].push(v));
		if (this.times.length > seriesLength) {
			this.times.shift();
			for (const v of this.values) v.shift();
		}
	}
	get data() { return [this.times, ...this.values]; }
}

const serverFigures = ['inFlight', 'slots', 'p50', 'p99'];

function newServer(facts) {
	return {n: facts.n, id: facts.id, facts, state: 'up', inFlight: 0, slots: 0, known: false, cap: 0, load: 0, rate: 0, failures: 0, p50: 0, p99: 0, success: 1, since: 0, outages: [], arrived: 0, total: 0, series: null};
}

function setRow(s, row) {
	[, s.inFlight, s.slots, s.known, s.cap, s.load, s.rate, s.failures, s.p50, s.p99, s.success, s.since] = row;
	s.outages = row[12] ?? [];
	s.state = s.outages[0]?.reason ?? 'up';
}

// textOf is what the filter looks into.
function textOf(s) {
	const labels = Object.entries(s.facts.labels ?? {}).map(([k, v]) => `${k}=${v}`).join(' ');
	return `${s.id} ${labels} ${s.facts.location ?? ''} ${s.facts.address}`.toLowerCase();
}

class Pool {
	constructor(name) {
		this.name = name;
		this.servers = new Map(); // by number
		this.byID = new Map();
		this.total = {};
		this.series = new Series(['p50', 'p99']);
		this.generation = 0; // grows when servers come, go or change their facts
	}
	get(id) { return this.byID.get(id); }
	apply(p, now) {
		for (const s of this.servers.values()) s.arrived = 0;
		for (const n of p.gone ?? []) this.remove(n);
		for (const facts of p.servers ?? []) this.put(facts);
		for (const row of p.rows ?? []) {
			const s = this.servers.get(row[0]);
			if (s) setRow(s, row);
		}
		const flying = p.flying ?? [];
		for (let i = 0; i < flying.length; i += 3) {
			const s = this.servers.get(flying[i]);
			if (!s) continue;
			s.inFlight = flying[i + 1];
			s.arrived = flying[i + 2];
			s.total += s.arrived;
		}
		const {servers, rows, gone, flying: _, ...total} = p;
		this.total = total;
		this.series.add(now, [total.p50_ms, total.p99_ms]);
		this.record(now);
	}
	put(facts) {
		const known = this.servers.get(facts.n);
		const s = known?.id === facts.id ? known : newServer(facts);
		s.facts = facts;
		s.text = textOf(s);
		this.servers.set(facts.n, s);
		this.byID.set(facts.id, s);
		this.generation++;
	}
	remove(n) {
		const s = this.servers.get(n);
		this.servers.delete(n);
		if (s && this.byID.get(s.id) === s) this.byID.delete(s.id);
		this.generation++;
	}
	record(now) {
		const all = this.servers.size <= seriesAtMost;
		for (const s of this.servers.values()) {
			if (all || s.watched) {
				s.series ??= new Series(serverFigures);
				s.series.add(now, [s.inFlight, s.slots, s.p50 || null, s.p99 || null]);
			}
		}
	}
}

export class Model {
	constructor() {
		this.pools = new Map();
		this.events = []; // newest first
		this.decisions = []; // newest first
		this.problems = [];
		this.head = {};
	}
	snapshot(e) {
		const before = this.pools;
		this.pools = new Map();
		for (const p of e.pools) {
			const pool = new Pool(p.name), old = before.get(p.name);
			this.pools.set(p.name, pool);
			if (old) pool.series = old.series;
			pool.apply(p, e.now / 1000);
			for (const s of pool.servers.values()) { // what the page has seen before it lost the stream
				const was = old?.get(s.id);
				if (was) [s.series, s.watched] = [was.series, was.watched];
			}
		}
		this.events = [];
		this.decisions = [];
		this.master = e.master;
		this.take(e);
	}
	tick(e) {
		const names = new Set(e.pools.map(p => p.name));
		for (const name of this.pools.keys()) if (!names.has(name)) this.pools.delete(name);
		for (const p of e.pools) {
			if (!this.pools.has(p.name)) this.pools.set(p.name, new Pool(p.name));
			this.pools.get(p.name).apply(p, e.now / 1000);
		}
		this.take(e);
	}
	take(e) {
		this.head = {now: e.now, interval: e.interval_ms, edges: e.edges, agents: e.agents};
		this.problems = e.problems;
		this.events = [...(e.events ?? []).reverse(), ...this.events].slice(0, 300);
		this.decisions = [...(e.decisions ?? []).reverse(), ...this.decisions].slice(0, 200);
	}
}
