// The servers: filtered, sorted, grouped; as rows with bars, beside the flow if there are few, below the wall if there are many. Of a long
// list only the rows in sight exist.

import {$, el, icon, setText} from './dom.js';
import {family} from './model.js';
import {Flow} from './flow.js';
import {Wall, wallColors} from './wall.js';
import * as words from './words.js';

const flowAtMost = 40; // servers beside which the flow is drawn
const wallFrom = 100;
const rowHeight = 40;
const spare = 6; // rows beyond those in sight

const weight = {out: 5, less: 4, drained: 3, gone: 2, warming: 1, up: 0};
const sorts = {
	id: () => 0,
	trouble: (a, b) => weight[family(b.state)] - weight[family(a.state)],
	use: (a, b) => b.inFlight / (b.slots || 1) - a.inFlight / (a.slots || 1),
	p99: (a, b) => b.p99 - a.p99,
	rate: (a, b) => b.rate - a.rate,
};
const byName = new Intl.Collator('en', {numeric: true}).compare;

export class Servers {
	constructor(open) {
		this.open = open;
		this.flow = new Flow();
		this.wall = new Wall(open);
		this.filter = {text: '', state: '', group: '', sort: 'id'};
		this.rows = new Map(); // place in the list to its element
		this.sorted = [];
		this.bind();
	}
	bind() {
		$('filter').addEventListener('input', e => { this.filter.text = e.target.value.trim().toLowerCase(); this.update(); });
		$('group').addEventListener('change', e => { this.filter.group = e.target.value; this.update(); });
		$('sort').addEventListener('change', e => { this.filter.sort = e.target.value; this.update(); });
		$('rows').addEventListener('scroll', () => this.drawRows(), {passive: true});
		addEventListener('resize', () => this.update());
		$('rows').addEventListener('keydown', e => {
			const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10}[e.key];
			if (!step || !e.target.dataset.place) return;
			e.preventDefault();
			this.focus(Number(e.target.dataset.place) + step);
		});
		$('states').addEventListener('click', e => {
			const b = e.target.closest('button');
			if (!b) return;
			this.filter.state = b.dataset.state;
			this.update();
		});
	}
	focus(place) {
		place = Math.max(0, Math.min(this.shown.length - 1, place));
		const box = $('rows'), top = place * rowHeight;
		if (top < box.scrollTop) box.scrollTop = top;
		else if (top + rowHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + rowHeight - box.clientHeight;
		this.drawRows();
		this.rows.get(place)?.querySelector('button').focus();
	}
	// show takes the pool to be shown; ticked says that a tick brought it.
	show(pool, ticked, interval) {
		if (this.pool !== pool) {
			this.pool = pool;
			this.orderedAt = -1;
			this.fillGroups();
		}
		if (this.generation !== pool?.generation) this.fillGroups();
		this.generation = pool?.generation;
		this.update();
		if (ticked) this.flow.arrive(interval);
	}
	fillGroups() {
		const keys = new Set();
		for (const s of this.pool?.servers.values() ?? []) for (const k of Object.keys(s.facts.labels ?? {})) keys.add(k);
		$('group').replaceChildren(el('option', {value: ''}, 'no'), el('option', {value: 'state'}, 'by state'), ...[...keys].sort().slice(0, 20).map(k => el('option', {value: `label:${k}`}, `by ${k}`)));
		if (![...$('group').options].some(o => o.value === this.filter.group)) this.filter.group = '';
		$('group').value = this.filter.group;
	}
	order() {
		const all = [...this.pool.servers.values()];
		if (this.orderedAt !== this.pool.generation || !this.named) {
			this.named = all.sort((a, b) => byName(a.id, b.id));
			this.orderedAt = this.pool.generation;
		}
		const compare = sorts[this.filter.sort];
		return this.filter.sort === 'id' ? this.named : [...this.named].sort(compare);
	}
	suits(s) {
		const f = this.filter;
		return (!f.state || family(s.state) === f.state) && (!f.text || s.text.includes(f.text) || words.state(s.state).includes(f.text) || s.state.includes(f.text));
	}
	update() {
		if (!this.pool) return;
		this.drawStates();
		this.shown = this.order().filter(s => this.suits(s));
		this.scale = Math.max(1, ...this.shown.slice(0, 2000).map(s => Math.max(s.known ? s.slots : 0, s.inFlight, s.cap)));
		const few = this.shown.length <= flowAtMost, colors = wallColors();
		$('list-box').dataset.size = few ? 'few' : 'many';
		$('flow-box').hidden = !few || !this.shown.length;
		$('wall-box').hidden = this.shown.length < wallFrom;
		if (few) this.flow.show(this.shown, rowHeight, this.pool.total, colors);
		else this.flow.hide();
		if (!$('wall-box').hidden) {
			this.wall.draw(this.shown, colors);
			$('wall').setAttribute('aria-label', this.summary());
		}
		this.drawGroups();
		this.drawRows();
		this.drawEmpty();
	}
	summary() {
		const counts = Object.entries(this.counts).filter(([, n]) => n).map(([f, n]) => `${words.number(n)} ${familyWords[f]}`);
		return `All servers as bars: ${counts.join(', ')}. The list below has the same.`;
	}
	drawStates() {
		const counts = this.counts = {up: 0, out: 0, less: 0, drained: 0, gone: 0, warming: 0};
		for (const s of this.pool.servers.values()) counts[family(s.state)]++;
		const wanted = [['', this.pool.servers.size], ...Object.entries(counts).filter(([f, n]) => n || f === this.filter.state)];
		const box = $('states'), known = wanted.map(([f]) => f).join();
		if (box.dataset.known !== known) {
			box.dataset.known = known;
			box.replaceChildren(...wanted.map(([f]) => el('button', {type: 'button', 'data-state': f}, f ? icon(f) : null, el('span', {}), el('b', {}))));
		}
		wanted.forEach(([f, n], i) => {
			const b = box.children[i];
			b.setAttribute('aria-pressed', String(this.filter.state === f));
			setText(b.querySelector('span'), f ? familyWords[f] : 'all');
			setText(b.querySelector('b'), words.number(n));
		});
	}
	drawGroups() {
		const by = this.filter.group, box = $('groups');
		box.hidden = !by;
		if (!by) return;
		const groups = new Map();
		for (const s of this.shown) {
			const name = by === 'state' ? words.state(s.state) : s.facts.labels?.[by.slice(6)] ?? '';
			const g = groups.get(name) ?? {name, n: 0, inFlight: 0, slots: 0, rate: 0, out: 0};
			g.n++;
			g.inFlight += s.inFlight;
			g.slots += s.known ? s.slots : 0;
			g.rate += s.rate;
			if (weight[family(s.state)] > 1) g.out++;
			groups.set(name, g);
		}
		const list = [...groups.values()].sort((a, b) => byName(a.name, b.name)).slice(0, 100);
		const most = Math.max(1, ...list.map(g => Math.max(g.slots, g.inFlight)));
		box.replaceChildren(el('table', {class: 'groups'},
			el('caption', {class: 'hidden'}, 'Servers by group'),
			el('thead', {}, el('tr', {}, ...['Group', 'Servers', 'In flight', 'In use', 'Requests/s', 'With trouble'].map((h, i) => el('th', {scope: 'col', class: i ? 'num' : ''}, h)))),
			el('tbody', {}, ...list.map(g => el('tr', {},
				el('th', {scope: 'row'}, el('button', {type: 'button', class: 'link', on: {click: () => this.pick(by, g.name)}}, g.name || 'without')),
				el('td', {class: 'num'}, words.number(g.n)), el('td', {class: 'num'}, words.number(g.inFlight)),
				el('td', {class: 'num'}, meter(g.inFlight, g.slots, most), g.slots ? words.share(g.inFlight / g.slots) : '–'),
				el('td', {class: 'num'}, words.rate(g.rate)), el('td', {class: g.out ? 'num bad' : 'num'}, words.number(g.out)))))));
	}
	pick(by, name) {
		this.filter.text = (by === 'state' ? name : `${by.slice(6)}=${name}`).toLowerCase();
		$('filter').value = this.filter.text;
		this.update();
		$('filter').focus();
	}
	drawRows() {
		const box = $('rows'), few = this.shown.length <= flowAtMost;
		const from = few ? 0 : Math.max(0, Math.floor(box.scrollTop / rowHeight) - spare);
		const to = few ? this.shown.length : Math.min(this.shown.length, from + Math.ceil((box.clientHeight || 400) / rowHeight) + 2 * spare);
		box.style.setProperty('--total', `${this.shown.length * rowHeight}px`);
		$('list').setAttribute('aria-rowcount', this.shown.length + 1);
		for (const [place, row] of this.rows) {
			if (place < from || place >= to) {
				if (row.contains(document.activeElement)) continue;
				row.remove();
				this.rows.delete(place);
			}
		}
		for (let place = from; place < to; place++) this.drawRow(place, box);
	}
	drawRow(place, box) {
		const s = this.shown[place];
		let row = this.rows.get(place);
		if (!row) {
			row = this.newRow(place);
			this.rows.set(place, row);
			const next = [...box.children].find(r => Number(r.dataset.place) > place);
			box.insertBefore(row, next ?? null);
		}
		const kind = family(s.state), p = row.parts;
		if (p.id !== s.id) {
			p.id = s.id;
			setText(p.name, s.id);
			p.name.title = s.id;
			p.name.classList.toggle('long', s.id.length > 11);
			row.setAttribute('data-server', s.id);
		}
		if (p.state !== s.state) {
			p.state = s.state;
			row.dataset.family = kind;
			p.icon.replaceWith(p.icon = icon(kind));
			setText(p.words, kind === 'up' ? '' : words.state(s.state));
			setText(p.hidden, kind === 'up' ? ', takes requests' : '');
		}
		this.drawBar(p, s);
		setText(p.rate, words.rate(s.rate));
		setText(p.p50, words.duration(s.p50));
		setText(p.p99, words.duration(s.p99));
		setText(p.failed, s.failures ? words.share(s.failures) : '–');
		p.failed.classList.toggle('bad', s.failures > 0.01);
	}
	newRow(place) {
		const p = {icon: icon('up'), name: el('span', {class: 'id'}), words: el('span', {class: 'state'}), hidden: el('span', {class: 'hidden'}), bar: bar(), count: el('span', {class: 'count'}),
			rate: el('span', {role: 'cell', class: 'num'}), p50: el('span', {role: 'cell', class: 'num'}), p99: el('span', {role: 'cell', class: 'num'}), failed: el('span', {role: 'cell', class: 'num fails'})};
		const button = el('button', {type: 'button', class: 'server', 'data-place': place, on: {click: () => this.open(p.id)}}, p.icon, p.name, p.words, p.hidden);
		const row = el('div', {role: 'row', class: 'row', 'aria-rowindex': place + 2, 'data-place': place}, el('span', {role: 'cell'}, button), el('span', {role: 'cell', class: 'barcell'}, p.bar.box, p.count), p.rate, p.p50, p.p99, p.failed);
		row.style.setProperty('--top', `${place * rowHeight}px`);
		row.parts = p;
		return row;
	}
	drawBar(p, s) {
		setBar(p.bar, s, this.scale);
		setText(p.count, s.known ? `${words.number(s.inFlight)} / ${words.number(s.slots, s.slots % 1 && s.slots < 10 ? 1 : 0)}` : words.number(s.inFlight));
	}
	drawEmpty() {
		const box = $('empty');
		box.hidden = this.shown.length > 0;
		$('list').hidden = !box.hidden;
		if (box.hidden) return;
		if (this.pool.servers.size) {
			box.replaceChildren('No server suits the filter. ', el('button', {type: 'button', class: 'link', on: {click: () => this.reset()}}, 'Show all'));
			return;
		}
		box.replaceChildren(`Pool ${this.pool.name} has no servers yet. Name them in the file, under `, el('code', {}, `pools.${this.pool.name}.servers`), ', or start an agent beside each: ', el('code', {}, `evenkeel agent --pool ${this.pool.name}`), '.');
	}
	reset() {
		Object.assign(this.filter, {text: '', state: ''});
		$('filter').value = '';
		this.update();
	}
}

const familyWords = {up: 'take requests', out: 'out', less: 'get less', drained: 'drained', gone: 'left', warming: 'warming up'};

// meter is a plain bar of a part of a whole.
function meter(value, whole, most) {
	const e = el('span', {class: 'meter', 'aria-hidden': 'true'}, el('i'));
	e.style.setProperty('--whole', `${100 * whole / most}%`);
	e.firstChild.style.setProperty('--part', `${100 * Math.min(1, whole ? value / whole : 0)}%`);
	return e;
}

// bar is a server's: slots as an outline with a line for each, what is in flight in it, what is beyond, others' load, and the cap.
export function bar() {
	const b = {slots: el('i', {class: 'slots'}), other: el('i', {class: 'other'}), busy: el('i', {class: 'busy'}), wait: el('i', {class: 'wait'}), cap: el('i', {class: 'cap'})};
	b.box = el('span', {class: 'bar', 'aria-hidden': 'true'}, ...Object.values(b));
	return b;
}

export function setBar(b, s, scale) {
	const percent = v => `${Math.min(100, 100 * v / scale)}%`, slots = s.known ? s.slots : 0;
	const within = slots ? Math.min(s.inFlight, slots) : s.inFlight;
	const values = {'--w-slots': percent(slots), '--w-busy': percent(within), '--w-other': percent(Math.max(s.inFlight, Math.min(s.load, scale))), '--w-beyond': percent(Math.max(0, s.inFlight - within)), '--w-cap': percent(s.cap), '--n': slots && slots <= 64 && scale <= 64 ? slots : 1};
	const key = Object.values(values).join();
	if (b.key === key) return;
	b.key = key;
	for (const [name, value] of Object.entries(values)) b.box.style.setProperty(name, value);
	b.cap.hidden = !s.cap;
}
