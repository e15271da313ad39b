// Charts by uPlot, in the theme's colours. A chart is redrawn by its data; it is made anew when the theme or the width changes.

import {color} from './dom.js';
import * as words from './words.js';

const seconds = new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit', second: '2-digit'});

export class Chart {
	// lines are {label, color, fill, dash}; say turns a value into words.
	constructor(box, lines, say, height = 120) {
		[this.box, this.lines, this.say, this.height] = [box, lines, say, height];
		this.key = '';
	}
	draw(series) {
		const width = this.box.clientWidth, theme = color('ink');
		if (!width || series.times.length < 2) {
			if (!this.plot && !this.box.firstChild) this.box.textContent = 'Figures appear here in a few seconds.';
			return;
		}
		if (this.key !== `${width} ${theme}`) this.make(width, theme);
		this.plot.setData(series.data);
		const last = series.values.map(v => v.at(-1));
		this.box.setAttribute('aria-label', `${this.lines.map((l, i) => `${l.label} ${last[i] === null ? 'unknown' : this.say(last[i])}`).join(', ')}; the last ${words.span(series.times.at(-1) - series.times[0])}`);
	}
	make(width, theme) {
		this.plot?.destroy();
		this.box.textContent = '';
		this.key = `${width} ${theme}`;
		const axis = {stroke: color('quiet'), grid: {stroke: color('line'), width: 1}, ticks: {show: false}, font: '11px system-ui'};
		this.plot = new uPlot({
			width, height: this.height, legend: {show: false}, cursor: {show: false}, padding: [6, 8, 0, 0],
			scales: {x: {time: true}, y: {range: (u, min, max) => [0, max > 0 ? max * 1.1 : 1]}},
			axes: [{...axis, size: 22, space: 80, values: (u, all) => all.map(v => seconds.format(v * 1000))}, {...axis, size: 52, space: 28, values: (u, all) => all.map(v => this.say(v))}],
			series: [{}, ...this.lines.map(l => ({label: l.label, stroke: color(l.color), width: l.width ?? 1.5, dash: l.dash, fill: l.fill ? color(l.fill) : undefined, points: {show: false}, spanGaps: true}))],
		}, [[], ...this.lines.map(() => [])], this.box);
	}
}
