package master

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/audit"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
)

// tokenBody requests a token. The secret stays with the caller: the master gets its hash.
type tokenBody struct {
	Hash      string         `json:"hash"`
	Addresses []netip.Prefix `json:"addresses"`
	Uses      int            `json:"uses"`
	Seconds   float64        `json:"seconds"`
}

// tokenAnswer is the rest of the token, beside the secret.
type tokenAnswer struct {
	ID        string    `json:"id"`
	Authority string    `json:"authority"` // SHA-256, hexadecimal
	Uses      int       `json:"uses"`
	Ends      time.Time `json:"ends"`
}

// postRevoke revokes a token.
func (m *Master) postRevoke(w http.ResponseWriter, r *http.Request) *document {
	if m.enrolment == nil {
		return newProblem(http.StatusConflict, noEnrolment, "this master signs no agents' certificates: it knows no tokens")
	}
	id := r.PathValue("token")
	record, done, err := m.enrolment.Tokens.Revoke(r.Context(), id, time.Now())
	switch {
	case err != nil:
		return newProblem(http.StatusServiceUnavailable, noStore, err.Error())
	case !done:
		return newProblem(http.StatusNotFound, noSuchToken, fmt.Sprintf("no token %q that is good: it has ended, or another master has it", clip(id)))
	}
	return write(w, revokedAnswer{id, record.Pool, len(record.Used), record.Uses})
}

// revokedAnswer is what a token was used for until it was revoked.
type revokedAnswer struct {
	ID   string `json:"id"`
	Pool string `json:"pool"`
	Used int    `json:"used"`
	Uses int    `json:"uses"`
}

// postToken stores a token. Where callers prove nothing, as on loopback by default, it is refused: only proven
// callers and the unix socket have the role enrol.
func (m *Master) postToken(w http.ResponseWriter, r *http.Request) *document {
	if m.enrolment == nil {
		return newProblem(http.StatusConflict, noEnrolment, "this master signs no agents' certificates: write master.enrol into its file, with an issuer of evenkeel certs issuer")
	}
	var body tokenBody
	if p := read(r, &body); p != nil {
		return p
	}
	pool := r.PathValue("pool")
	m.poolsMu.Lock()
	may := m.mayOpenLocked(pool) && poolName.MatchString(pool)
	m.poolsMu.Unlock()
	if !may {
		return newProblem(http.StatusNotFound, noSuchPool, fmt.Sprintf("no pool %q here", clip(pool)))
	}
	life := time.Duration(body.Seconds * float64(time.Second))
	switch most := m.enrolment.Tokens.MostUses(); {
	case !enrol.IsHash(body.Hash):
		return newProblem(http.StatusBadRequest, badRequest, "hash: want the SHA-256 of the secret, as evenkeel certs token makes it")
	case body.Uses < 1 || body.Uses > enrol.MostUses:
		return newProblem(http.StatusBadRequest, badRequest, fmt.Sprintf("uses: %d, want 1 to %d", body.Uses, enrol.MostUses))
	case body.Uses > most:
		return newProblem(http.StatusConflict, noTokenStore, "uses: this master keeps tokens in its memory, where they are good for one use: more need an election's store, or a folder (master.enrol.tokens)")
	case life < enrol.ShortestLife || life > enrol.LongestLife:
		return newProblem(http.StatusBadRequest, badRequest, fmt.Sprintf("seconds: %v, want 1 to %.0f", body.Seconds, enrol.LongestLife.Seconds()))
	}
	if err := m.enrolment.Signer.JudgePool(pool); err != nil {
		return newProblem(http.StatusConflict, noEnrolment, err.Error())
	}
	who := admin.CallerOf(r)
	record := enrol.Record{Pool: pool, Addresses: body.Addresses, Ends: time.Now().Add(life), Uses: body.Uses, By: who.Name}
	e := who.Entry("make a token", pool)
	e.Outcome, e.Detail = audit.Done, fmt.Sprintf("token %s, uses %d, until %s", enrol.ID(body.Hash), body.Uses, record.Ends.Format(time.RFC3339))
	if len(body.Addresses) > 0 {
		e.Detail += fmt.Sprintf(", from %v", body.Addresses)
	}
	if err := m.enrolment.Tokens.Add(r.Context(), body.Hash, record); err != nil {
		e.Outcome, e.Detail = audit.Failed, err.Error()
		m.enrolment.Audit.Record(e)
		return newProblem(http.StatusServiceUnavailable, noStore, err.Error())
	}
	m.enrolment.Audit.Record(e)
	return write(w, tokenAnswer{enrol.ID(body.Hash), m.enrolment.Signer.Authority(), body.Uses, record.Ends})
}
