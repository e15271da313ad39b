// The page: it reads the stream and draws what has changed.

import {Chart} from './charts.js';
import {Detail} from './detail.js';
import {$, el, icon, setText} from './dom.js';
import {family, Model, outKinds} from './model.js';
import {Servers} from './servers.js';
import {may, readSession, session} from './session.js';
import * as words from './words.js';

const troublesAtMost = 8;

class App {
	constructor() {
		this.model = new Model();
		this.detail = new Detail(this);
		this.servers = new Servers(id => this.detail.openServer(id));
		this.latency = new Chart($('pool-chart'), [{label: 'p50', color: 'busy'}, {label: 'p99', color: 'wait'}], words.duration, 130);
		this.paused = false;
		this.poolName = new URLSearchParams(location.hash.slice(1)).get('pool');
		this.bind();
		this.connect();
		setInterval(() => this.checkAge(), 1000);
		this.session();
	}
	get pool() { return this.model.pools.get(this.poolName) ?? this.model.pools.values().next().value; }
	get now() { return this.model.head.now ?? Date.now(); }
	async session() {
		const known = await readSession();
		setText($('who'), session.name ? `${session.name}${may('operate') ? '' : ', read only'}` : '');
		return known;
	}
	connect() {
		this.stream?.close();
		const stream = this.stream = new EventSource('/v1/stream');
		stream.addEventListener('snapshot', e => this.take('snapshot', e));
		stream.addEventListener('tick', e => this.take('tick', e));
		stream.onerror = () => this.lost(stream);
	}
	// lost says that the stream has broken, and connects again if the browser does not.
	async lost(stream) {
		this.setLive('lost', 'no connection to the master; trying again');
		if (stream.readyState !== EventSource.CLOSED) return;
		const known = await this.session();
		if (known && !may('read')) {
			$('live-text').replaceChildren('not logged in: ', el('a', {href: '/login?to=/ui'}, 'log in'));
			return;
		}
		clearTimeout(this.again);
		this.again = setTimeout(() => this.connect(), 3000);
	}
	setLive(state, text) {
		$('live').dataset.state = state;
		setText($('live-text'), text);
	}
	take(kind, e) {
		const first = !this.heard;
		this.heard = performance.now();
		const event = JSON.parse(e.data);
		this.model[kind](event);
		if (!this.paused) this.setLive('live', 'live');
		if (this.paused && !first) return;
		this.draw(kind === 'tick');
	}
	checkAge() {
		const age = (performance.now() - (this.heard ?? performance.now())) / 1000;
		if ($('live').dataset.state === 'live' && age > 3 * (this.model.head.interval ?? 1000) / 1000) this.setLive('lost', `no news for ${words.span(age)}`);
	}
	draw(ticked) {
		if (!this.model.master) return;
		const pool = this.pool;
		setText($('master'), `${this.model.master.id} ${this.model.master.version ?? ''} · up ${words.span(this.now / 1000 - this.model.master.since)}${this.model.head.edges ? ` · ${words.plural(this.model.head.edges, 'edge')}` : ''}`);
		this.drawPools();
		this.drawVerdict();
		if (!pool) {
			$('figures').replaceChildren();
			return;
		}
		this.drawFigures(pool.total);
		this.servers.show(pool, ticked, this.model.head.interval);
		this.listEvents($('events'), this.model.events.filter(e => !e.pool || e.pool === pool.name).slice(0, 60), 'Nothing has changed yet.');
		this.listDecisions($('decisions'), this.model.decisions.filter(d => d.pool === pool.name).slice(0, 14), 'No request yet. Send one to an edge, and the choice appears here.');
		this.drawClasses(pool.total.classes ?? []);
		this.latency.draw(pool.series);
		this.detail.update();
	}
	drawPools() {
		const names = [...this.model.pools.keys()], box = $('pools');
		box.hidden = names.length < 2;
		if (box.dataset.names !== names.join()) {
			box.dataset.names = names.join();
			box.replaceChildren(...names.map(n => el('button', {type: 'button', on: {click: () => this.choosePool(n)}}, n)));
		}
		for (const b of box.children) {
			b.setAttribute('aria-pressed', String(b.textContent === this.pool?.name));
			b.classList.toggle('bad', this.troubles().some(t => t.pool === b.textContent));
		}
	}
	choosePool(name) {
		this.poolName = name;
		history.replaceState(null, '', `#pool=${encodeURIComponent(name)}`);
		this.detail.close();
		this.draw();
	}
	troubles() {
		const list = [];
		for (const pool of this.model.pools.values()) {
			for (const s of pool.servers.values()) {
				const o = s.outages.find(o => o.trouble);
				if (o) list.push({pool: pool.name, server: s, outage: o});
			}
		}
		return list.sort((a, b) => a.outage.since - b.outage.since);
	}
	// causes puts troubles of the same cause together: the first that began, and how many more.
	causes(troubles) {
		const causes = new Map();
		for (const t of troubles) {
			const key = `${t.pool} ${t.outage.reason} ${t.outage.error ? words.cause(t.outage.error) : t.outage.what ?? ''}`;
			const known = causes.get(key);
			if (known) known.others.push(t.server);
			else causes.set(key, {...t, others: []});
		}
		return [...causes.values()];
	}
	drawVerdict() {
		const troubles = this.troubles(), problems = this.model.problems;
		let all = 0, out = 0, drained = 0;
		for (const pool of this.model.pools.values()) for (const s of pool.servers.values()) {
			all++;
			if (outKinds.has(s.state)) out++;
			if (s.state === 'draining' || s.state === 'maintenance') drained++;
		}
		const names = [...this.model.pools.values()];
		let text = names.length === 0 ? 'This master has no pools yet' : all === 0 ? 'No servers yet' : out === 0 ? `${all === 1 ? 'The one server takes' : `All ${words.number(all)} servers take`} requests` : `${words.number(out)} of ${words.plural(all, 'server')} ${out === 1 ? 'gets' : 'get'} no requests`;
		if (out && out === drained) text += ', as ordered';
		setText($('verdict'), text);
		document.body.dataset.mood = problems.length || troubles.some(t => t.outage.out) ? 'bad' : troubles.length ? 'less' : 'good';
		document.title = problems.length + troubles.length ? `(${problems.length + troubles.length}) Evenkeel` : 'Evenkeel';
		const every = [...problems.map(p => ({text: p})), ...this.causes(troubles)], lines = every.slice(0, troublesAtMost), box = $('troubles'), more = every.length - lines.length;
		const key = JSON.stringify([lines.map(l => l.text ?? [l.pool, l.server.id, l.others.length, l.outage, words.span((this.now - l.outage.since * 1000) / 1000)]), more]);
		if (box.dataset.key === key) return;
		box.dataset.key = key;
		const had = document.activeElement?.dataset?.trouble;
		box.replaceChildren(...lines.map(l => l.text ? el('li', {}, icon('out'), el('span', {}, l.text)) : this.troubleLine(l)), more > 0 ? el('li', {class: 'quiet'}, `and ${words.number(more)} more: `, el('button', {type: 'button', class: 'link', on: {click: () => this.showTrouble()}}, 'show them')) : '');
		if (had) box.querySelector(`[data-trouble="${CSS.escape(had)}"]`)?.focus();
	}
	troubleLine({pool, server, outage, others}) {
		const where = this.model.pools.size > 1 ? ` of ${pool}` : '';
		return el('li', {}, icon(family(outage.reason)), el('span', {}, ...[el('button', {type: 'button', class: 'link', 'data-trouble': `${pool}/${server.id}`, on: {click: () => { if (this.pool.name !== pool) this.choosePool(pool); this.detail.openServer(server.id); }}}, server.id), others.length ? [' and ', el('button', {type: 'button', class: 'link', on: {click: () => this.showTrouble()}}, words.plural(others.length, 'other'))] : [], `${where} ${words.state(outage.reason)} for ${words.span((this.now - outage.since * 1000) / 1000)}`,
			outage.error ? `: ${outage.error}` : outage.what ? `: ${outage.what}` : ''].flat()));
	}
	showTrouble() {
		Object.assign(this.servers.filter, {sort: 'trouble'});
		$('sort').value = 'trouble';
		this.servers.update();
		$('servers').focus();
		$('servers').scrollIntoView({block: 'start'});
	}
	drawFigures(t) {
		let slots = 0, inFlight = 0;
		for (const s of this.pool.servers.values()) {
			if (s.known && !outKinds.has(s.state)) slots += s.slots;
			inFlight += s.inFlight;
		}
		const figures = [['Requests/s', words.rate(t.rate)], ['In flight', words.number(inFlight), slots ? `of ${words.number(slots)} slots` : ''], ['Waiting', words.number(t.waiting), t.waiting ? 'in the queue' : '', t.waiting > 0], ['p50', words.duration(t.p50_ms)], ['p99', words.duration(t.p99_ms)],
			['Failed', words.share(t.failures), '', t.failures > 0.01], ['Refused', words.number(t.refused), t.refused ? `last minute: ${t.reason}` : 'last minute', t.refused > 0]];
		const box = $('figures');
		if (!box.children.length) box.replaceChildren(...figures.map(([name]) => el('div', {}, el('dt', {}, name), el('dd', {}, el('b', {}), el('span', {class: 'quiet'})))));
		figures.forEach(([, value, note, bad], i) => {
			const dd = box.children[i].lastChild;
			setText(dd.firstChild, value);
			setText(dd.lastChild, note ?? '');
			dd.classList.toggle('bad', Boolean(bad));
		});
	}
	drawClasses(classes) {
		$('classes-panel').hidden = !classes.length;
		if (!classes.length) return;
		const most = Math.max(...classes.map(c => c.p99_ms ?? 0), 1);
		$('classes').replaceChildren(el('table', {class: 'classes'}, el('caption', {class: 'hidden'}, 'Latency by class of requests'),
			el('thead', {}, el('tr', {}, ...['Class', 'Requests/s', 'p50', 'p99', ''].map((h, i) => i === 4 ? el('td') : el('th', {scope: 'col', class: i ? 'num' : ''}, h)))),
			el('tbody', {}, ...classes.map(c => {
				const range = el('span', {class: 'range', 'aria-hidden': 'true'}, el('i'));
				const at = v => 100 * Math.log1p(v ?? 0) / Math.log1p(most);
				range.style.setProperty('--from', `${at(c.p50_ms)}%`);
				range.style.setProperty('--to', `${at(c.p99_ms)}%`);
				return el('tr', {}, el('th', {scope: 'row'}, c.name || 'others'), el('td', {class: 'num'}, words.rate(c.rate)), el('td', {class: 'num'}, words.duration(c.p50_ms)), el('td', {class: 'num'}, words.duration(c.p99_ms)), el('td', {class: 'rangecell'}, range));
			}))));
	}
	// listEvents fills a list of events, newest first; own: they are all of one server.
	listEvents(list, events, empty, own) {
		const seen = new Set();
		events = events.filter(e => !seen.has(e.seq) && seen.add(e.seq));
		const key = `${events.length} ${events[0]?.seq ?? 'none'}`;
		if (list.dataset.key === key) return;
		list.dataset.key = key;
		list.replaceChildren(...events.map(e => {
			const [kind, text] = words.event(e), at = Date.parse(e.at);
			return el('li', {}, el('time', {datetime: e.at}, words.time(at, this.now)), icon(kind), el('span', {}, e.server && !own ? el('button', {type: 'button', class: 'link', on: {click: () => this.detail.openServer(e.server)}}, e.server) : '', e.server && !own ? ' ' : '', text));
		}), events.length ? '' : el('li', {class: 'quiet'}, empty));
	}
	listDecisions(list, decisions, empty) {
		const key = `${decisions.length} ${decisions[0]?.lease ?? 'none'}`;
		if (list.dataset.key === key || list.contains(document.activeElement) || list.matches(':hover') && list.children.length > 3) return;
		list.dataset.key = key;
		list.replaceChildren(...decisions.map(d => el('li', {}, el('time', {datetime: new Date(d.at).toISOString()}, words.time(d.at, this.now)),
			el('button', {type: 'button', class: 'link', 'data-lease': d.lease, on: {click: () => this.detail.openDecision(d)}}, el('b', {}, d.server), d.second ? ` over ${d.second}` : '', d.class ? el('span', {class: 'quiet'}, ` ${d.class}`) : ''))),
		decisions.length ? '' : el('li', {class: 'quiet'}, empty));
	}
	bind() {
		$('pause').addEventListener('click', () => this.pause());
		$('theme').addEventListener('click', () => this.theme());
		this.setTheme(localStorage.getItem('evenkeel-theme') ?? 'system');
		matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
		addEventListener('hashchange', () => { this.poolName = new URLSearchParams(location.hash.slice(1)).get('pool'); this.draw(); });
		addEventListener('keydown', e => this.key(e));
	}
	key(e) {
		if (e.ctrlKey || e.metaKey || e.altKey || $('confirm').open) return;
		const typing = e.target.matches('input, select');
		if (e.key === 'Escape') {
			if (typing && e.target.value) { this.servers.reset(); return; }
			this.detail.close();
		} else if (e.key === '/' && !typing) {
			e.preventDefault();
			$('filter').focus();
		} else if (e.key === 'p' && !typing) this.pause();
	}
	pause() {
		this.paused = !this.paused;
		$('pause').setAttribute('aria-pressed', String(this.paused));
		setText($('pause'), this.paused ? 'Go on' : 'Pause');
		this.setLive(this.paused ? 'paused' : 'live', this.paused ? 'paused' : 'live');
		if (!this.paused) this.draw();
	}
	theme() {
		const next = {system: 'light', light: 'dark', dark: 'system'}[document.documentElement.dataset.theme ?? 'system'];
		localStorage.setItem('evenkeel-theme', next);
		this.setTheme(next);
		this.draw();
	}
	setTheme(name) {
		document.documentElement.dataset.theme = name;
		setText($('theme'), `Theme: ${name}`);
	}
}

new App();
