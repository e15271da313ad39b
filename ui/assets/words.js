// How figures, times and events are said.

const decimals = [0, 1, 2, 3].map(n => new Intl.NumberFormat('en', {minimumFractionDigits: n, maximumFractionDigits: n}));

export function number(v, digits = 0) { return decimals[digits].format(v); }

// rate says requests a second.
export function rate(v) {
	if (!v) return '0';
	if (v < 0.05) return '<0.1';
	return number(v, v < 10 ? 1 : 0);
}

// duration says milliseconds.
export function duration(ms) {
	if (ms === null || ms === undefined || ms === 0) return '–';
	if (ms < 10) return `${number(ms, 1)} ms`;
	if (ms < 1000) return `${number(ms)} ms`;
	if (ms < 100e3) return `${number(ms / 1000, ms < 10e3 ? 2 : 1)} s`;
	return `${number(ms / 60e3, 1)} min`;
}

// share says a part of one.
export function share(v) {
	if (!v) return '0 %';
	if (v < 0.001) return '<0.1 %';
	return `${number(v * 100, v < 0.1 ? 1 : 0)} %`;
}

// span says how long something has lasted, in seconds.
export function span(seconds) {
	const s = Math.max(0, Math.round(seconds));
	if (s < 60) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} min`;
	if (s < 172800) return `${Math.floor(s / 3600)} h`;
	return `${Math.floor(s / 86400)} days`;
}

const clock = new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit', second: '2-digit'});
const dated = new Intl.DateTimeFormat('en-GB', {day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit'});

export function time(ms, now = Date.now()) { return (now - ms < 20 * 3600e3 ? clock : dated).format(ms); }

export function plural(n, noun) { return `${number(n)} ${noun}${n === 1 ? '' : 's'}`; }

const states = {
	up: 'takes requests', gone: 'has left', draining: 'drained', maintenance: 'in maintenance', unhealthy: 'unhealthy', unreachable: 'unreachable', ejected: 'ejected', 'held-back': 'held back',
	silent: 'silent', full: 'full', 'canary-held-back': 'canary held back', 'unreachable-from-edge': 'not reached by an edge', 'name-fails': 'name fails', warming: 'warming up',
};

export function state(s) { return states[s] ?? s; }

// cause is an error without the numbers and names that differ from server to server.
export function cause(error) { return error.replace(/\d+(\.\d+)*(:\d+)?/g, '#'); }

// outage says what is wrong in a sentence.
export function outage(o) {
	let text = o.what ? `${o.what}` : state(o.reason);
	if (o.by) text += ` (${o.by})`;
	return text;
}

const declarers = {file: 'the file', pool: 'the pool’s part of the file', agent: 'its agent'};

// setting says what an operator has set of a server.
export function setting(o) {
	let text = `${o.value ?? 'yes'}, set by ${o.by || 'an operator'} at ${time(Date.parse(o.at))}`;
	if (o.reason) text += ` (${o.reason})`;
	if (o.value === undefined) return text;
	return `${text}; ${o.declared === undefined ? 'nothing else declares it' : `${declarers[o.declared_by]} says ${o.declared}`}`;
}

// event returns an event's icon and words. The server's name stands before them.
export function event(e) {
	const by = e.by ? ` by ${e.by}` : '';
	const why = e.what && e.what !== e.reason ? `: ${e.what}` : '';
	const n = e.count ? ` (${number(e.count)} more)` : '';
	switch (e.kind) {
	case 'master-started': return ['info', `master started, ${e.what}`];
	case 'config-reloaded': return ['info', 'configuration reloaded'];
	case 'pool-opened': return ['info', 'pool opened'];
	case 'pool-removed': return ['gone', 'pool removed'];
	case 'pool-led': return ['info', 'this master leads the pool'];
	case 'pool-followed': return ['less', e.peer ? `led by ${e.peer}` : 'led by no master'];
	case 'server-joined': return ['up', `joined${by}${n}`];
	case 'server-left': return ['gone', `left${by}${n}`];
	case 'server-out': return [e.reason === 'full' || e.reason === 'held-back' || e.reason === 'unreachable-from-edge' ? 'less' : 'out', `${state(e.reason)}${n}${e.error && e.error !== e.reason ? `: ${e.error}` : why}`];
	case 'server-back': return ['up', `takes requests again${n}${e.after_s ? `, after ${span(e.after_s)} ${state(e.reason)}` : ''}`];
	case 'server-drained': return ['drained', `drained${by}${why}${n}`];
	case 'server-set': return ['drained', `set${by}${why}${n}`];
	case 'server-unset': return ['up', `unset${by}${why}${n}`];
	case 'server-undrained': return ['up', `undrained${by}${n}`];
	case 'edge-connected': return ['info', `edge ${e.peer ?? ''} connected${n}`];
	case 'edge-gone': return ['less', `edge ${e.peer ?? ''} gone${n}${e.error ? `: ${e.error}` : ''}`];
	case 'agent-gone': return ['less', `agent gone${n}${e.error ? `: ${e.error}` : ''}`];
	case 'canary-held-back': return ['less', `canary held back${why}`];
	case 'canary-tried': return ['info', 'canary tried again'];
	}
	return ['info', e.kind];
}
