// Looks at the page as people do. It waits for what it wants to see, never for time to pass.
import {createRequire} from 'node:module';
import assert from 'node:assert/strict';

const {CHROMIUM, MODULES, URL: at, LOCKED, TOKEN, OUT} = process.env;
const require = createRequire(`${MODULES}/x.js`);
const {chromium} = require('playwright-core'), axe = require('axe-core');
const browser = await chromium.launch({executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage']});

async function open(options = {}) {
	const context = await browser.newContext({viewport: {width: 1280, height: 780}, colorScheme: 'light', ...options});
	const page = await context.newPage();
	page.setDefaultTimeout(180e3);
	page.on('pageerror', e => { page.failed = e; });
	page.on('console', m => { if (m.type() === 'error') page.failed = new Error(m.text()); });
	page.on('request', r => { if (!r.url().startsWith(at) && !(LOCKED && r.url().startsWith(LOCKED))) page.failed = new Error(`it asks another site: ${r.url()}`); });
	return page;
}

// accessible has axe judge the page as it stands.
async function accessible(page, what) {
	if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(axe.source);
	const {violations} = await page.evaluate(() => window.axe.run());
	assert.deepEqual(violations.map(v => `${v.id}: ${v.nodes.map(n => n.html).slice(0, 3).join(' ')}`), [], what);
}

async function picture(page, name) {
	if (OUT) await page.screenshot({path: `${OUT}/${name}.png`});
}

async function live(page) {
	await page.goto(`${at}/ui`);
	await page.waitForSelector('#live[data-state=live]');
	await page.locator('.rows .row').first().waitFor();
}

const row = id => `.row[data-server="${id}"]`;

async function see(page) {
	await live(page);
	assert.equal(await page.locator('.rows .row').count(), 12);
	await page.locator('#troubles').getByText('connection refused').waitFor();
	await page.waitForSelector(`${row('r4')}[data-family=out]`);
	await page.waitForSelector(`${row('r9')}[data-family=less]`);
	await page.locator('#decisions button').nth(5).waitFor();
	await page.locator('#classes td').first().waitFor();
	await page.locator('#pool-chart canvas').waitFor();
	await accessible(page, 'the page');
}

async function explain(page) {
	await page.locator('#decisions button', {hasText: ' over '}).first().click(); // one with losers
	await page.locator('.terms tr.won').waitFor();
	assert.ok(await page.locator('.terms tbody tr').count() > 1, 'a decision has losers');
	await accessible(page, 'a decision');
	await picture(page, 'page-decision');
	await page.keyboard.press('Escape');
	await page.waitForSelector('#detail', {state: 'hidden'});
}

async function lastError(page) {
	await page.locator('#troubles button', {hasText: 'r4'}).click();
	await page.locator('.error', {hasText: 'connection refused'}).waitFor();
	await page.locator('#detail .events li', {hasText: 'unreachable'}).first().waitFor();
	await page.locator('#detail').getByText('in the last').waitFor();
	await accessible(page, 'a server');
	await page.locator('#detail-close').click();
}

async function drain(page) {
	await page.locator(`${row('r1')} button`).press('Enter');
	await page.locator('#drain', {hasText: 'Drain'}).click();
	await accessible(page, 'the confirmation');
	await page.locator('#confirm-reason').fill('new disk');
	await page.locator('#confirm-do').click();
	await page.waitForSelector(`${row('r1')}[data-family=drained]`);
	await page.locator('#events li', {hasText: 'new disk'}).waitFor();
	await page.locator('#drain', {hasText: 'Undrain'}).click();
	await page.locator('#confirm-do').press('Enter');
	await page.waitForSelector(`${row('r1')}:not([data-family=drained])`);
	await page.locator('#events li', {hasText: 'undrained'}).waitFor();
	await page.keyboard.press('Escape');
}

// set gives a server other slots and a cap, puts it into maintenance, and undoes each; who, why and what the file says are seen.
async function set(page) {
	const command = async (button, value) => {
		await page.locator(button).click();
		if (value !== undefined) await page.locator('#confirm-value').fill(value);
		await page.locator('#confirm-reason').fill('half of its memory');
		await page.locator('#confirm-do').click();
		await page.waitForSelector('#confirm:not([open])', {state: 'attached'});
	};
	const settings = text => page.locator('#detail dl.facts dd', {hasText: text}).first().waitFor();
	await page.locator(`${row('r2')} button`).press('Enter');
	await page.locator('#set-slots').click();
	await accessible(page, 'a setting');
	await page.locator('#confirm-value').fill('0');
	await page.locator('#confirm-do').click();
	assert.ok(await page.evaluate(() => document.getElementById('confirm').open && !document.getElementById('confirm-value').validity.valid), 'no slots are refused before they are sent');
	await page.locator('#confirm-value').fill('3');
	await page.locator('#confirm-do').click();
	await settings('3, set by the page at');
	await settings('the file says 8');
	await command('#set-cap', '5');
	await settings(/^5, set by the page .*\(half of its memory\)/);
	await page.waitForFunction(() => document.activeElement.id === 'set-cap');
	await command('#set-maintenance');
	await page.waitForSelector(`${row('r2')}[data-family=drained]`);
	await page.locator('#events li', {hasText: 'set by the page: maintenance: half of its memory'}).waitFor();
	await accessible(page, 'a server with what is set');
	await picture(page, 'page-server');
	for (const button of ['#unset-slots', '#unset-cap']) {
		await command(button);
		await page.waitForSelector(button, {state: 'detached'});
	}
	await page.locator('#set-maintenance', {hasText: 'End'}).click();
	await page.locator('#confirm-do').click();
	await page.waitForSelector(`${row('r2')}:not([data-family=drained])`);
	await page.locator('#events li', {hasText: 'unset by the page: slots'}).waitFor();
	await page.keyboard.press('Escape');
}

async function filter(page) {
	await page.keyboard.press('/');
	await page.keyboard.type('gpu=h100');
	await page.waitForFunction(() => document.querySelectorAll('.rows .row').length === 4);
	await page.keyboard.press('Escape');
	await page.waitForFunction(() => document.querySelectorAll('.rows .row').length === 12);
	await page.locator('#group').selectOption('label:zone');
	await page.locator('table.groups tbody tr').first().waitFor();
	await accessible(page, 'groups');
	await page.locator('#group').selectOption('');
	await page.locator(`${row('r1')} button`).focus();
	await page.keyboard.press('ArrowDown');
	assert.equal(await page.evaluate(() => document.activeElement.closest('.row')?.dataset.server), 'r2');
	await page.evaluate(() => document.activeElement.blur());
}

// locked is an address that wants a token: a reader logs in, looks, and may not drain.
async function locked(page) {
	await page.goto(`${LOCKED}/ui`);
	await page.locator('input[name=token]').fill(TOKEN);
	await page.locator('button').click();
	await page.waitForURL(`${LOCKED}/ui`);
	await page.waitForSelector('#live[data-state=live]');
	await page.locator('#who', {hasText: 'read only'}).waitFor();
	await page.locator('.rows button.server').first().click();
	for (const button of ['#drain', '#set-slots', '#set-cap', '#set-maintenance']) await page.locator(`${button}:disabled`).waitFor();
}

try {
	const page = await open();
	await see(page);
	await picture(page, 'page-light');
	await explain(page);
	await lastError(page);
	await drain(page);
	await set(page);
	await filter(page);
	await page.emulateMedia({colorScheme: 'dark', reducedMotion: 'reduce'});
	await accessible(page, 'the page in the dark');
	if (page.failed) throw page.failed;

	const dark = await open({colorScheme: 'dark'});
	await see(dark);
	await picture(dark, 'page-dark');

	const narrow = await open({viewport: {width: 390, height: 844}, colorScheme: 'dark', reducedMotion: 'reduce'});
	await live(narrow);
	await accessible(narrow, 'the narrow page');
	assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the narrow page need not be scrolled sideways');
	await picture(narrow, 'page-narrow');
	if (narrow.failed) throw narrow.failed;

	await locked(await open());
	console.log('seen, explained, drained, set');
} finally {
	await browser.close();
}
