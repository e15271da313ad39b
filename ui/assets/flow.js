// The flow: requests come in at the left and go to the servers, whose rows stand to the right of the canvas. A curve is as wide as its
// server gets requests, and a dot is one request, or a few. Who prefers reduced motion sees the curves alone.

import {context, $} from './dom.js';
import {family} from './model.js';
import * as words from './words.js';

const mostDots = 400;
const dotsATick = 120;
const still = matchMedia('(prefers-reduced-motion: reduce)');

export class Flow {
	constructor() {
		this.canvas = $('flow');
		this.rows = []; // {server, y}
		this.dots = [];
		this.frame = 0;
		this.marked = null; // a decision's servers
	}
	// show takes the rows' servers and the height of a row.
	show(servers, rowHeight, total, colors) {
		this.colors = colors;
		this.total = total;
		this.rows = servers.map((server, i) => ({server, y: i * rowHeight + rowHeight / 2}));
		this.height = Math.max(servers.length * rowHeight, 120);
		this.width = $('flow-box').clientWidth;
		this.canvas.setAttribute('aria-label', `${words.rate(total.rate)} requests a second arrive and go to ${words.plural(servers.length, 'server')}${total.waiting ? `; ${words.number(total.waiting)} wait` : ''}.`);
		this.start();
	}
	hide() { this.rows = []; this.dots = []; }
	// arrive makes dots for what has come since the last tick, spread over the time to the next.
	arrive(interval) {
		if (still.matches || document.hidden || !this.rows.length) return;
		const all = this.rows.reduce((sum, r) => sum + r.server.arrived, 0);
		if (!all) return;
		const each = Math.max(1, all / dotsATick), now = performance.now();
		for (const r of this.rows) {
			for (let n = Math.floor(r.server.arrived / each + Math.random()); n > 0 && this.dots.length < mostDots; n--) {
				this.dots.push({id: r.server.id, begins: now + Math.random() * interval, takes: 700 + Math.random() * 300});
			}
		}
		this.start();
	}
	mark(decision) { this.marked = decision; this.start(); }
	start() {
		if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
	}
	curve(y) {
		const x0 = 58, y0 = Math.min(this.height / 2, 260), x1 = this.width - 4;
		return {x0, y0, x1, y1: y, mid: (x0 + x1) / 2};
	}
	draw() {
		this.frame = 0;
		if (!this.rows.length || !this.width) return;
		const c = context(this.canvas, this.width, this.height), colors = this.colors;
		c.clearRect(0, 0, this.width, this.height);
		const most = Math.max(...this.rows.map(r => r.server.rate), 1e-9);
		for (const r of this.rows) this.stroke(c, r, most);
		this.source(c);
		if (this.drawDots(c)) this.start();
		c.globalAlpha = 1;
	}
	stroke(c, r, most) {
		const k = this.curve(r.y), s = r.server, kind = family(s.state), m = this.marked;
		const won = m?.server === s.id, lost = m && m.losers.has(s.id);
		c.beginPath();
		c.moveTo(k.x0, k.y0);
		c.bezierCurveTo(k.mid, k.y0, k.mid, k.y1, k.x1, k.y1);
		c.setLineDash(lost || kind === 'out' || kind === 'drained' ? [2, 5] : []);
		c.strokeStyle = won ? this.colors.bright : lost ? this.colors.ink : s.rate > 0 ? this.colors.busy : this.colors.line;
		c.globalAlpha = won || lost ? 1 : s.rate > 0 ? 0.28 : 0.6;
		c.lineWidth = won ? 3 : lost ? 1.5 : s.rate > 0 ? 1 + 7 * s.rate / most : 1;
		c.stroke();
		c.setLineDash([]);
	}
	source(c) {
		const y0 = Math.min(this.height / 2, 260), colors = this.colors;
		c.globalAlpha = 1;
		c.fillStyle = colors.ink;
		c.font = '600 17px system-ui, sans-serif';
		c.textAlign = 'left';
		c.fillText(words.rate(this.total.rate), 4, y0 - 2);
		c.fillStyle = colors.quiet;
		c.font = '12px system-ui, sans-serif';
		c.fillText('req/s', 4, y0 + 14);
		const waiting = this.total.waiting;
		if (waiting) {
			c.fillStyle = colors.wait;
			for (let i = 0; i < Math.min(waiting, 24); i++) c.fillRect(4 + i % 6 * 8, y0 + 24 + Math.floor(i / 6) * 8, 6, 6);
			c.fillStyle = colors.ink;
			c.fillText(`${words.number(waiting)} wait`, 4, y0 + 40 + Math.ceil(Math.min(waiting, 24) / 6) * 8);
		}
	}
	drawDots(c) {
		const now = performance.now(), at = new Map(this.rows.map(r => [r.server.id, r.y]));
		c.fillStyle = this.colors.bright;
		c.globalAlpha = 0.9;
		this.dots = this.dots.filter(d => now < d.begins + d.takes && at.has(d.id));
		for (const d of this.dots) {
			const t = (now - d.begins) / d.takes;
			if (t < 0) continue;
			const k = this.curve(at.get(d.id)), u = 1 - t;
			const x = u * u * u * k.x0 + 3 * u * u * t * k.mid + 3 * u * t * t * k.mid + t * t * t * k.x1;
			const y = u * u * u * k.y0 + 3 * u * u * t * k.y0 + 3 * u * t * t * k.y1 + t * t * t * k.y1;
			c.beginPath();
			c.arc(x, y, 2.4, 0, 7);
			c.fill();
		}
		return this.dots.length > 0 && !document.hidden;
	}
}
