// The wall: every server of a large pool as a small bar on one canvas, in the order of the list. A bar's height is how much of its slots
// is in use; what comes in lights it up for a moment.

import {color, context, $} from './dom.js';
import {family} from './model.js';
import * as words from './words.js';

const mostHeight = 420;

// layout returns the size of a cell so that n of them fit.
function layout(n, width) {
	for (let w = 18; w > 2; w--) {
		const h = Math.max(6, Math.round(w * 1.8)), columns = Math.floor(width / w);
		if (Math.ceil(n / columns) * h <= mostHeight || w === 3) return {w, h, columns};
	}
}

export class Wall {
	constructor(open) {
		this.canvas = $('wall');
		this.servers = [];
		this.canvas.addEventListener('click', e => { const s = this.at(e); if (s) open(s.id); });
		this.canvas.addEventListener('mousemove', e => this.tip(this.at(e)));
		this.canvas.addEventListener('mouseleave', () => this.tip(null));
	}
	at(e) {
		if (!this.cell) return null;
		const box = this.canvas.getBoundingClientRect();
		const column = Math.floor((e.clientX - box.left) / this.cell.w), row = Math.floor((e.clientY - box.top) / this.cell.h);
		return column < this.cell.columns ? this.servers[row * this.cell.columns + column] : null;
	}
	tip(s) {
		$('wall-tip').textContent = s ? `${s.id}: ${words.state(s.state)}, ${words.number(s.inFlight)} in flight${s.known ? ` of ${words.number(s.slots)} slots` : ''}, ${words.rate(s.rate)} requests/s, p99 ${words.duration(s.p99)}` : '\u00a0';
	}
	draw(servers, colors) {
		this.servers = servers;
		const width = $('wall-box').clientWidth;
		if (!width) return;
		const cell = this.cell = layout(servers.length, width);
		const c = context(this.canvas, width, Math.ceil(servers.length / cell.columns) * cell.h);
		c.clearRect(0, 0, width, this.canvas.height);
		const gap = cell.w > 5 ? 2 : 1, w = cell.w - gap, h = cell.h - gap;
		servers.forEach((s, i) => {
			const x = i % cell.columns * cell.w, y = Math.floor(i / cell.columns) * cell.h, kind = family(s.state);
			c.fillStyle = colors.track;
			c.fillRect(x, y, w, h);
			if (kind === 'out' || kind === 'drained' || kind === 'gone') {
				c.fillStyle = colors[kind];
				if (kind === 'drained') { c.fillRect(x, y, w / 3, h); c.fillRect(x + w - w / 3, y, w / 3, h); } else c.fillRect(x, y, w, h);
				return;
			}
			const use = s.slots > 0 ? s.inFlight / s.slots : 0, top = Math.min(1, use) * h;
			c.fillStyle = use > 1 ? colors.wait : s.arrived ? colors.bright : colors.busy;
			c.fillRect(x, y + h - top, w, top);
			if (kind === 'less') {
				c.fillStyle = colors.less;
				c.fillRect(x, y, w, Math.max(2, h / 4));
			}
		});
	}
}

// wallColors reads the theme's colours once for a drawing.
export function wallColors() {
	return Object.fromEntries(['track', 'busy', 'bright', 'wait', 'out', 'less', 'drained', 'gone', 'line', 'ink', 'quiet', 'warming', 'free'].map(name => [name, color(name)]));
}
