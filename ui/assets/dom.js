// Small helpers to make and change elements. Text only: nothing is parsed as HTML.

export const $ = id => document.getElementById(id);

// el makes an element: el('span', {class: 'x'}, 'text', child).
export function el(name, attributes = {}, ...children) {
	const e = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (key === 'on') for (const [event, call] of Object.entries(value)) e.addEventListener(event, call);
		else if (value === true) e.setAttribute(key, '');
		else if (value !== false && value !== null && value !== undefined) e.setAttribute(key, value);
	}
	e.append(...children.filter(c => c !== null && c !== undefined && c !== false));
	return e;
}

const svg = 'http://www.w3.org/2000/svg';

// icon is that of a family of states; the words beside it say the same.
export function icon(family) {
	const e = document.createElementNS(svg, 'svg');
	e.setAttribute('class', `icon ${family}`);
	e.setAttribute('aria-hidden', 'true');
	const use = document.createElementNS(svg, 'use');
	use.setAttribute('href', `#i-${family}`);
	e.append(use);
	return e;
}

// setText changes an element's text only if it differs.
export function setText(e, text) {
	if (e.textContent !== text) e.textContent = text;
}

// color returns a colour of the present theme.
export function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

// context returns a canvas's context, in CSS pixels.
export function context(canvas, width, height) {
	const ratio = window.devicePixelRatio || 1;
	const w = Math.round(width * ratio), h = Math.round(height * ratio);
	if (canvas.width !== w || canvas.height !== h) {
		[canvas.width, canvas.height] = [w, h];
		canvas.style.width = `${width}px`;
		canvas.style.height = `${height}px`;
	}
	const c = canvas.getContext('2d');
	c.setTransform(ratio, 0, 0, ratio, 0, 0);
	return c;
}
