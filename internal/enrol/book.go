package enrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Record is what masters keep of a token.
type Record struct {
	Pool      string         `json:"pool"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Ends      time.Time      `json:"ends"`
	Uses      int            `json:"uses"`
	Used      []string       `json:"used,omitempty"` // marks of who has used it
	By        string         `json:"by,omitempty"`   // who made it
}

// Store keeps values under names, where all masters that share it see them. Methods may be called from any
// goroutine.
type Store interface {
	// Add keeps a value under a name that is new, until a time, or a while longer.
	Add(ctx context.Context, name string, value []byte, until time.Time) error
	// Get returns a value and its version; nil: there is none.
	Get(ctx context.Context, name string) (value []byte, version string, err error)
	// Swap puts a value in the place of one of that version; false: it has changed since.
	Swap(ctx context.Context, name, version string, value []byte) (done bool, err error)
	// Names returns those that there are.
	Names(ctx context.Context) ([]string, error)
}

// Book is the tokens that are good at a master.
type Book struct {
	store  Store
	memory bool // they are in this process alone
}

// NewBook returns one. Without a store it is kept in memory: tokens are good for one use, at this master,
// and end with it.
func NewBook(store Store) *Book {
	if store == nil {
		return &Book{store: newMemory(), memory: true}
	}
	return &Book{store: store}
}

// MostUses is how many uses a token can have here.
func (b *Book) MostUses() int {
	if b.memory {
		return 1
	}
	return MostUses
}

// Add enters a token under its hash.
func (b *Book) Add(ctx context.Context, hash string, r Record) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.store.Add(ctx, hash, value, r.Ends)
}

// swaps is how often Use tries while other masters count other uses of the token.
const swaps = 20

// Use judges a token, and if it is good counts a use. mark tells one that asks again because the answer
// was lost: it is not counted, and no other can claim it.
func (b *Book) Use(ctx context.Context, secret, mark string, now time.Time, judge func(*Record) error) error {
	hash := Hash(secret)
	for range swaps {
		r, version, err := b.find(ctx, hash, now)
		if err == nil {
			err = judge(r)
		}
		switch {
		case err != nil:
			return err
		case slices.Contains(r.Used, mark):
			return nil
		case len(r.Used) >= r.Uses:
			return trust.Refuse(trust.BadToken, "token %s is used up: it was good for %d, and each agent needs one", ID(hash), r.Uses)
		}
		r.Used = append(r.Used, mark)
		value, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if done, err := b.store.Swap(ctx, hash, version, value); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("token %s: %w", ID(hash), ErrBusy)
}

// ErrBusy is the error of a token that too many use at once.
var ErrBusy = errors.New("too many agents use it at once: try again")

// Revoke ends a token by its ID, now; false: there is none that is good.
func (b *Book) Revoke(ctx context.Context, id string, now time.Time) (r *Record, done bool, err error) {
	names, err := b.store.Names(ctx)
	names = slices.DeleteFunc(names, func(name string) bool { return ID(name) != id })
	if err != nil || len(names) == 0 {
		return nil, false, err
	}
	for range swaps {
		r, version, err := b.find(ctx, names[0], now)
		if _, ended := errors.AsType[*trust.Refusal](err); ended {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		r.Ends = now
		value, err := json.Marshal(r)
		if err != nil {
			return nil, false, err
		}
		if done, err := b.store.Swap(ctx, names[0], version, value); done || err != nil {
			return r, done, err
		}
	}
	return nil, false, fmt.Errorf("token %s: %w", id, ErrBusy)
}

func (b *Book) find(ctx context.Context, hash string, now time.Time) (*Record, string, error) {
	value, version, err := b.store.Get(ctx, hash)
	if err != nil {
		return nil, "", err
	}
	if value == nil {
		where := "the masters' store does not have it: it was never made here, or has ended"
		if b.memory {
			where = "without a store of tokens (master.enrol.tokens, or an election) only the master that made it knows it, until it restarts"
		}
		return nil, "", trust.Refuse(trust.BadToken, "token %s is unknown: %s", ID(hash), where)
	}
	r := new(Record)
	if err := json.Unmarshal(value, r); err != nil {
		return nil, "", fmt.Errorf("the store's entry of token %s is malformed: %w", ID(hash), err)
	}
	if !now.Before(r.Ends) {
		return nil, "", trust.Refuse(trust.BadToken, "token %s ended at %s", ID(hash), r.Ends.UTC().Format(time.RFC3339))
	}
	return r, version, nil
}

// Judge refuses a token that is not for a pool, or not to be used from an address. An invalid one is that of a
// unix socket, which lies in no prefix.
func (r *Record) Judge(hash, pool string, from netip.Addr) error {
	switch {
	case r.Pool != pool:
		return trust.Refuse(trust.BadToken, "token %s is for pool %s, and the agent wants to join %s", ID(hash), r.Pool, pool)
	case len(r.Addresses) > 0 && !slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Contains(from) }):
		return trust.Refuse(trust.BadToken, "token %s is good for agents in %v, and this one comes from %v", ID(hash), r.Addresses, from)
	}
	return nil
}
