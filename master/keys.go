package master

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A request's key may be secret, such as a session cookie. Outside the choice only a hash of it is shown:
// enough to see that two requests have the same key.

const (
	hashedKey   = "sha256:"
	hashedBytes = 8 // bytes of the digest that are shown
)

// hashOf returns what is shown of a key: the beginning of its SHA-256, which everyone who has the key can
// compute. An empty key has an empty hash.
func hashOf(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hashedKey + hex.EncodeToString(sum[:hashedBytes])
}

// HookKey in PoolConfig.HookFacts has servers sent the key itself.
const HookKey = "key"

// dispatchedRequest returns what a server's agent is sent of a request.
func (p *pool) dispatchedRequest(req *balance.Request) balance.Request {
	p.mu.Lock()
	plain := slices.Contains(p.cfg.HookFacts, HookKey)
	p.mu.Unlock()
	told := *req
	if !plain {
		told.Key = hashOf(req.Key)
	}
	if told.Belief == balance.Disbelieved {
		told.Tenant = "" // an application would trust it
	}
	return told
}
