// Who looks, and what they may do. Where the address asks for no proof everybody may do everything.

export const session = {name: '', roles: ['read', 'operate'], csrf: ''};

export async function readSession() {
	try {
		const r = await fetch('/session', {headers: {Accept: 'application/json'}, cache: 'no-store'});
		if (r.ok) Object.assign(session, await r.json());
		return r.ok;
	} catch {
		return false;
	}
}

export function may(role) { return session.roles.includes(role); }

// call asks the API; it throws an Error with what the API says is wrong.
export async function call(method, path, body) {
	const headers = {Accept: 'application/json'};
	if (body !== undefined) headers['Content-Type'] = 'application/json';
	if (session.csrf && method !== 'GET') headers['X-CSRF-Token'] = session.csrf;
	const r = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store'});
	if (r.ok) return r.json();
	let problem = {};
	try { problem = await r.json(); } catch { /* no JSON: the status says it */ }
	throw new Error(problem.detail || problem.title || `the master answered ${r.status}`);
}
