// What opens beside the servers: a server with its history and what can be done with it, or a decision with its losers and terms.

import {Chart} from './charts.js';
import {$, el, icon, setText} from './dom.js';
import {family} from './model.js';
import {bar, setBar} from './servers.js';
import {call, may, session} from './session.js';
import * as words from './words.js';

export class Detail {
	constructor(app) {
		this.app = app;
		$('detail-close').addEventListener('click', () => this.close());
		$('confirm').addEventListener('close', () => this.confirmed());
		$('confirm').querySelector('form').addEventListener('submit', e => this.submit(e));
	}
	get isOpen() { return !$('detail').hidden; }
	close() {
		if (!this.isOpen) return;
		$('detail').hidden = true;
		document.body.classList.remove('with-detail');
		if (this.server) this.server.watched = false;
		this.server = this.decision = null;
		this.app.servers.flow.mark(null);
		this.app.draw();
		if (this.back?.isConnected) this.back.focus();
	}
	open() {
		if (!this.isOpen) this.back = document.activeElement;
		$('detail').hidden = false;
		document.body.classList.add('with-detail');
		$('detail-title').focus({preventScroll: true});
		$('detail').scrollTop = 0;
		this.app.draw();
	}
	openServer(id) {
		const s = this.app.pool?.get(id);
		if (!s) return;
		if (this.server) this.server.watched = false;
		this.decision = null;
		this.server = s;
		s.watched = true;
		this.app.servers.flow.mark(null);
		this.build(s);
		this.open();
		this.update();
		this.readEvents(s);
		this.readLosses(s);
	}
	build(s) {
		const p = this.parts = {says: el('div', {class: 'says'}), buttons: el('div', {class: 'buttons'}), bar: bar(), facts: el('dl', {class: 'facts'}), flight: el('div', {class: 'chart', role: 'img', 'aria-label': 'Requests in flight'}),
			latency: el('div', {class: 'chart', role: 'img', 'aria-label': 'Latency'}), events: el('ol', {class: 'events'}), losses: el('div', {}, el('p', {class: 'quiet'}, 'Asking the master …')), decisions: el('ol', {class: 'decisions'}), settings: el('dl', {class: 'facts'})};
		this.charts = [
			new Chart(p.flight, [{label: 'in flight', color: 'busy', fill: 'busy-soft'}, {label: 'slots', color: 'quiet', dash: [4, 4], width: 1}], v => words.number(v, v % 1 ? 1 : 0)),
			new Chart(p.latency, [{label: 'p50', color: 'busy'}, {label: 'p99', color: 'wait'}], words.duration)];
		$('detail-body').replaceChildren(p.says, p.buttons, el('div', {class: 'detail-bar'}, p.bar.box),
			section('In flight', p.flight), section('Latency, p50 and p99', p.latency), section('Why it gets what it gets', p.losses), section('History', p.events), section('Its decisions lately', p.decisions),
			section('Facts', p.facts), section('Settings', p.settings));
		const title = $('detail-title');
		title.replaceChildren(s.id);
	}
	async readEvents(s) {
		const list = this.parts.events;
		try {
			const answer = await call('GET', `/v1/events?limit=50&pool=${encodeURIComponent(this.app.pool.name)}&server=${encodeURIComponent(s.id)}`);
			if (this.server !== s) return;
			s.past = answer.events.reverse();
			this.update();
		} catch (err) {
			list.replaceChildren(el('li', {class: 'problem'}, err.message));
		}
	}
	async readLosses(s) {
		const box = this.parts.losses;
		try {
			const l = await call('GET', `/v1/pools/${encodeURIComponent(this.app.pool.name)}/servers/${encodeURIComponent(s.id)}/explain`);
			if (this.server !== s) return;
			const lines = [el('p', {}, `Of ${words.plural(l.requests, 'request')} in the last ${words.span(l.over_s)} it got ${words.number(l.won)}.`)];
			if (l.lost.length) lines.push(el('table', {class: 'losses'}, el('caption', {class: 'hidden'}, 'Why it lost'), el('tbody', {}, ...l.lost.map(x => el('tr', {}, el('th', {scope: 'row'}, x.why), el('td', {class: 'num'}, words.number(x.count)))))));
			lines.push(el('p', {class: 'quiet'}, `A request now would go to ${l.now.chosen || 'no server'}.`));
			box.replaceChildren(...lines);
		} catch (err) {
			box.replaceChildren(el('p', {class: 'problem'}, err.message));
		}
	}
	update() {
		if (!this.isOpen || !this.server) return;
		const s = this.server = this.app.pool?.get(this.server.id) ?? this.server, p = this.parts, now = this.app.now;
		s.watched = true;
		const key = JSON.stringify([s.state, s.outages, s.facts.overrides, session.roles, Math.floor((now - s.since * 1000) / 10e3)]);
		if (p.key !== key) {
			p.key = key;
			this.says(s, now);
			this.buttons(s);
		}
		setBar(p.bar, s, Math.max(1, s.known ? s.slots : 0, s.inFlight, s.cap));
		if (s.series) {
			this.charts[0].draw(part(s.series, 0));
			this.charts[1].draw(part(s.series, 2));
		}
		facts(p.facts, [['address', s.facts.address], ['resolves to', s.facts.at], ['location', s.facts.location], ['labels', Object.entries(s.facts.labels ?? {}).map(([k, v]) => `${k}=${v}`).join(', ')],
			['known by', `${s.facts.fixed ? 'the file' : 'its agent'}${s.facts.fixed && s.facts.agent ? ' and its agent' : ''}`], ['in flight', words.number(s.inFlight)], ['load, with others’ work', words.number(s.load, 1)], ['requests/s', words.rate(s.rate)],
			['failed', words.share(s.failures)], ['success ratio', words.number(s.success, 2)]]);
		facts(p.settings, [['slots', s.known ? words.number(s.slots, s.slots % 1 ? 1 : 0) : 'not known yet'], ['cap', s.cap ? words.number(s.cap) : 'none'], ...overrides(s).map(o => [`${settings[o.setting]} set`, words.setting(o)])]);
		this.app.listEvents(p.events, [...this.app.model.events.filter(e => e.server === s.id && e.pool === this.app.pool.name), ...(s.past ?? [])], 'Nothing has changed since the master started.', true);
		this.app.listDecisions(p.decisions, this.app.model.decisions.filter(d => d.server === s.id && d.pool === this.app.pool.name).slice(0, 8), 'None was sampled since this page was opened.');
	}
	says(s, now) {
		const kind = family(s.state), lines = [];
		for (const o of s.outages) {
			lines.push(el('p', {class: `say ${family(o.reason)}`}, icon(family(o.reason)), el('span', {}, el('b', {}, words.state(o.reason)), ` since ${words.time(o.since * 1000)}, ${words.span((now - o.since * 1000) / 1000)} ago: ${words.outage(o)}`, o.next ? `; ${o.next}` : '')));
			if (o.error) lines.push(el('p', {class: 'error'}, el('b', {}, 'Last error: '), o.error, o.error_at ? `, at ${words.time(o.error_at * 1000)}` : ''));
		}
		if (!lines.length) lines.push(el('p', {class: 'say up'}, icon('up'), el('span', {}, el('b', {}, 'takes requests'), ` since ${words.time(s.since * 1000)}`)));
		this.parts.says.replaceChildren(...lines);
		this.parts.says.dataset.family = kind;
	}
	buttons(s) {
		const focused = document.activeElement?.id, mine = may('operate');
		this.parts.buttons.replaceChildren(...commands(s).map(c => el('button', {type: 'button', id: c.button, class: c.ends ? 'primary' : '', ...(mine ? {on: {click: () => this.ask(s, c)}} : {disabled: '', title: 'This needs the role operate.'})}, c.label)),
			mine ? '' : el('span', {class: 'quiet'}, 'You may look; to drain and to set needs the role operate.'));
		if (this.parts.buttons.contains($(focused))) $(focused).focus();
	}
	// ask has the operator confirm a command.
	ask(s, command) {
		this.asked = {id: s.id, pool: this.app.pool.name, command};
		setText($('confirm-title'), command.title);
		setText($('confirm-text'), command.text);
		setText($('confirm-do'), command.does);
		setText($('confirm-problem'), '');
		$('confirm-reason').value = '';
		const value = $('confirm-value'), field = command.field;
		$('confirm-value-label').hidden = !field;
		Object.assign(value, {required: Boolean(field), min: field?.min ?? '', step: field?.step ?? 'any', value: field?.value ?? ''});
		setText($('confirm-value-name'), field?.name ?? '');
		$('confirm').showModal();
		$(field ? 'confirm-value' : 'confirm-reason').focus();
	}
	async submit(e) {
		if (e.submitter?.value !== 'do') return;
		e.preventDefault();
		const {id, pool, command} = this.asked;
		$('confirm-do').disabled = true;
		try {
			await call('POST', `/v1/pools/${encodeURIComponent(pool)}/servers/${encodeURIComponent(id)}/${command.verb}`,
				{by: session.name || 'the page', reason: $('confirm-reason').value.trim(), ...command.body?.(Number($('confirm-value').value))});
			$('confirm').close('done');
		} catch (err) {
			setText($('confirm-problem'), err.message);
		}
		$('confirm-do').disabled = false;
	}
	confirmed() { ($(this.asked.command.button) ?? $('drain'))?.focus(); }

	async openDecision(d) {
		if (this.server) this.server.watched = false;
		this.server = null;
		this.decision = d;
		$('detail-title').replaceChildren(`Why ${d.server}?`);
		$('detail-body').replaceChildren(el('p', {class: 'quiet'}, 'Asking the master …'));
		this.open();
		try {
			const l = await call('GET', `/v1/leases/${d.lease}`);
			if (this.decision !== d) return;
			if (!l.decision) throw new Error('The master has not kept this decision.');
			this.explain(d, l.decision);
		} catch (err) {
			$('detail-body').replaceChildren(el('p', {class: 'problem', role: 'alert'}, err.message));
		}
	}
	explain(d, x) {
		const losers = x.candidates.filter(c => c.server !== x.chosen), won = x.candidates.find(c => c.server === x.chosen);
		this.app.servers.flow.mark({server: x.chosen, losers: new Set(losers.map(c => c.server))});
		const columns = terms.filter(t => !t[3] || x.work);
		const most = Math.max(...x.candidates.map(c => c.score ?? 0), 1e-12);
		const request = Object.entries({class: x.request.class, size: x.request.size, tenant: x.request.tenant, key: x.request.key, priority: x.request.priority, link: x.request.link});
		$('detail-body').replaceChildren(
			el('p', {class: 'say up'}, icon('up'), el('span', {}, reason(x, won, losers[0]))),
			el('p', {class: 'quiet'}, `At ${words.time(d.at)}, in pool ${x.pool} by ${x.policy}, of ${words.plural(x.server_count, 'server')}.`, x.note ? ` ${x.note}.` : ''),
			el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Candidates and their terms'}, el('table', {class: 'terms'},
				el('caption', {class: 'hidden'}, 'The chosen server first, then those that came closest'),
				el('thead', {}, el('tr', {}, ...columns.map(([name, , long]) => el('th', {scope: 'col', class: name === 'Server' || name === 'Why' ? '' : 'num'}, long ? el('abbr', {title: long}, name) : name)))),
				el('tbody', {}, ...x.candidates.map(c => el('tr', {class: c.server === x.chosen ? 'won' : ''}, ...columns.map(([name, say], i) => i === 0
					? el('th', {scope: 'row'}, el('button', {type: 'button', class: 'link', on: {click: () => this.openServer(c.server)}}, c.server))
					: el('td', {class: name === 'Why' ? '' : 'num'}, name === 'Score' && c.score !== null ? scoreBar(c.score / most) : null, say(c)))))))),
			section('The terms', el('dl', {class: 'facts terms-key'}, ...columns.filter(t => t[2]).flatMap(([name, , long]) => [el('dt', {}, name), el('dd', {}, long)]))),
			section('The request', facts(el('dl', {class: 'facts'}), request)));
	}
}

// settings are what can be set of a server, as it is called here.
const settings = {slots: 'slots', max_in_flight: 'cap', maintenance: 'maintenance'};

function overrides(s) { return s.facts.overrides ?? []; }

// commands are what an operator can do with a server now.
function commands(s) {
	const has = words.plural(s.inFlight, 'request'), set = new Map(overrides(s).map(o => [o.setting, o]));
	const all = [s.outages.some(o => o.reason === 'draining')
		? {button: 'drain', label: 'Undrain', title: `Undrain ${s.id}?`, text: 'It gets requests again at once.', does: 'Undrain', verb: 'undrain', ends: true}
		: {button: 'drain', label: 'Drain …', title: `Drain ${s.id}?`, text: `It gets no new requests until it is undrained. ${has} that it has may end.`, does: 'Drain', verb: 'drain'}];
	if (set.has('maintenance')) all.push({button: 'set-maintenance', label: 'End maintenance', title: `End the maintenance of ${s.id}?`, text: 'It gets requests again, unless it is drained.', does: 'End maintenance', verb: 'unset', body: () => ({settings: ['maintenance']}), ends: true});
	else all.push({button: 'set-maintenance', label: 'Maintenance …', title: `Put ${s.id} into maintenance?`, text: `It gets no new requests until that is ended, whoever drains and undrains it. ${has} that it has may end.`, does: 'Put into maintenance', verb: 'set', body: () => ({maintenance: true})});
	for (const [name, field] of [['slots', {name: 'Slots, how many requests it works on at once', min: '0.001', step: 'any', value: s.known ? String(s.slots) : ''}], ['max_in_flight', {name: 'Cap, how many requests it has at most', min: '1', step: '1', value: s.cap ? String(s.cap) : ''}]]) {
		const word = settings[name];
		all.push({button: `set-${word}`, label: `Set ${word} …`, title: `Set the ${word} of ${s.id}`, text: 'It counts more than the file, the agent and what was learnt, also after a reload, until it is unset.', does: `Set ${word}`, verb: 'set', field, body: v => ({[name]: v})});
		if (set.has(name)) all.push({button: `unset-${word}`, label: `Unset ${word}`, title: `Unset the ${word} of ${s.id}?`, text: 'What the file, the agent or experience says counts again.', does: `Unset ${word}`, verb: 'unset', body: () => ({settings: [name]}), ends: true});
	}
	return all;
}

const fine = v => v === null || v === undefined ? '–' : v === 0 ? '0' : Math.abs(v) < 1 ? Number(v.toPrecision(3)).toString() : words.number(v, v < 10 ? 2 : 1);

// terms are the columns of an explanation: name, text, what it means, and whether only a choice by work has it.
const terms = [
	['Server', c => c.server],
	['Why', c => c.why],
	['Score', c => fine(c.score), 'what the request would cost there; the lowest wins'],
	['left', c => fine(c.by_work?.work_left), 'the work that the server has left', true],
	['expected', c => c.by_work ? words.duration(c.by_work.expected_s * 1000) : '–', 'the time that the request would take there, its wait included', true],
	['n', c => fine(c.load), 'load: requests that the server works on, with others’'],
	['x', c => fine(c.external_load), 'the part of n that did not come through this master'],
	['c', c => fine(c.slots), 'slots: how many requests it works on at once'],
	['b', c => words.duration(c.service_s * 1000), 'service time of one request alone'],
	['g', c => fine(c.growth), 'how many times as long the request takes beside the others'],
	['sr', c => fine(c.success_ratio), 'success ratio'],
	['aff', c => fine(c.affinity), 'factor for a key that the server knows'],
	['dist', c => fine(c.distance), 'share that the distance adds'],
];

function reason(x, won, second) {
	if (!won || won.score === null || !second) return `${x.chosen} got the request${x.note ? `: ${x.note}` : ''}.`;
	if (second.score === null) return `${x.chosen} got the request with the score ${fine(won.score)}; ${second.server} did not: ${second.why}.`;
	return `${x.chosen} had the ${won.score <= second.score ? 'lowest score' : 'score'}, ${fine(won.score)}; ${second.server} came next with ${fine(second.score)}: ${second.why}.`;
}

function scoreBar(part) {
	const e = el('span', {class: 'score', 'aria-hidden': 'true'});
	e.style.setProperty('--part', `${Math.max(2, 100 * part)}%`);
	return e;
}

// part is two of a series' lines.
function part(series, from) {
	const values = series.values.slice(from, from + 2);
	return {times: series.times, values, data: [series.times, ...values]};
}

function section(title, ...children) { return el('section', {}, el('h3', {}, title), ...children); }

// facts fills a list of names and values; those without a value are left out.
export function facts(dl, pairs) {
	const wanted = pairs.filter(([, v]) => v !== undefined && v !== null && v !== '' && v !== 0);
	const key = JSON.stringify(wanted);
	if (dl.dataset.key !== key) {
		dl.dataset.key = key;
		dl.replaceChildren(...wanted.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))]));
	}
	return dl;
}
