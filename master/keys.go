package master

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A request's key may be a secret of its client's, such as a session's cookie. Beyond the
// choice it is shown as a hash only: enough to see that two requests have the same.

const (
	hashedKey   = "sha256:"
	hashedBytes = 8 // of the digest that are shown
)

// hashOf returns what is shown of a key: the beginning of its SHA-256, as anybody who has
// the key can compute it. No key has no hash.
func hashOf(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hashedKey + hex.EncodeToString(sum[:hashedBytes])
}

// HookKey in PoolConfig.HookFacts has servers told the key itself.
const HookKey = "key"

// toldToServer is what a server's agent is told of a request.
func (p *pool) toldToServer(req *balance.Request) balance.Request {
	p.mu.Lock()
	plain := slices.Contains(p.cfg.HookFacts, HookKey)
	p.mu.Unlock()
	told := *req
	if !plain {
		told.Key = hashOf(req.Key)
	}
	if told.Belief == balance.Disbelieved {
		told.Tenant = "" // an application would take it for the tenant's
	}
	return told
}
