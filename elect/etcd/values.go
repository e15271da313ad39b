package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Values are small values that all masters of the election see, under PREFIX-values/NAME: outside the
// election's own keys, so that a change wakes no elector. Methods may be called from any goroutine.
type Values struct{ store *Store }

// Values returns those of the election. They are over when it quits.
func (s *Store) Values() *Values { return &Values{s} }

// valueTime bounds one call.
const valueTime = 5 * time.Second

func (v *Values) key(name string) string { return v.store.cfg.Prefix + "-values/" + name }

// Add keeps a value under a name that is new, until a time, when etcd removes it.
func (v *Values) Add(ctx context.Context, name string, value []byte, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, valueTime)
	defer cancel()
	granted, err := v.store.client.Grant(ctx, max(1, int64(time.Until(until)/time.Second)+1))
	if err != nil {
		return fmt.Errorf("etcd: lease: %w", err)
	}
	key := v.key(name)
	r, err := v.store.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, string(value), clientv3.WithLease(granted.ID))).Commit()
	switch {
	case err != nil:
		return fmt.Errorf("etcd: add: %w", err)
	case !r.Succeeded:
		return errors.New("etcd: there is a value of that name")
	}
	return nil
}

// Get returns a value and its version; nil: there is none.
func (v *Values) Get(ctx context.Context, name string) (value []byte, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, valueTime)
	defer cancel()
	r, err := v.store.client.Get(ctx, v.key(name))
	if err != nil {
		return nil, "", fmt.Errorf("etcd: get: %w", err)
	}
	if len(r.Kvs) == 0 {
		return nil, "", nil
	}
	return r.Kvs[0].Value, strconv.FormatInt(r.Kvs[0].ModRevision, 10), nil
}

// Names returns those that there are.
func (v *Values) Names(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, valueTime)
	defer cancel()
	r, err := v.store.client.Get(ctx, v.key(""), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("etcd: names: %w", err)
	}
	for _, kv := range r.Kvs {
		names = append(names, strings.TrimPrefix(string(kv.Key), v.key("")))
	}
	return names, nil
}

// Swap puts a value in the place of one of that version; false: it has changed since, or is gone.
func (v *Values) Swap(ctx context.Context, name, version string, value []byte) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, valueTime)
	defer cancel()
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return false, err
	}
	key := v.key(name)
	r, err := v.store.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, string(value), clientv3.WithIgnoreLease())).Commit()
	if err != nil {
		return false, fmt.Errorf("etcd: swap: %w", err)
	}
	return r.Succeeded, nil
}
