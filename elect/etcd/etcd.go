// Package etcd keeps an election in etcd. A master has one etcd lease; its presence and
// each pool it leads are keys of that lease, so all of them go with it. A pool's key is
// made only where none is, and its create-revision, which etcd never uses twice, is the
// fencing number.
//
//	PREFIX/masters/ID   address, number of edges, and the pools that it lacks
//	PREFIX/pools/POOL   ID address generation
//	PREFIX/generation   decimal; 0 as long as there is none
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapgrpc"

	"github.com/evenkeel-lb/evenkeel/elect"
)

// Grpc would write its errors to standard error itself, past the log, and block there if its reader is slow.
func init() {
	//lint:ignore SA1019 what it says to use instead would be one more dependency
	clientv3.SetLogger(zapgrpc.NewLogger(zap.NewNop()))
}

// Config is what a Store is told once.
type Config struct {
	Endpoints []string // host:port or http(s)://host:port; at least one
	Prefix    string   // of all keys; empty: "evenkeel"
	TTL       time.Duration
	TLS       *tls.Config // nil: plain connections
}

// LeastTTL is what an etcd with its standard settings grants at least; it counts in seconds.
const LeastTTL = 2 * time.Second

// Store is an elect.Store.
type Store struct {
	cfg     Config
	self    elect.Candidate
	client  *clientv3.Client
	lease   clientv3.LeaseID // zero: none
	told    string           // the value of our presence
	held    map[string]struct{}
	gen     uint64 // the generation that Look saw last
	changed chan struct{}
	stop    context.CancelFunc
	watched chan struct{} // closed when the watch has ended
}

// New returns a Store that watches until Quit. It does not wait for a connection.
func New(cfg Config, self elect.Candidate) (*Store, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "evenkeel"
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: cfg.Endpoints, DialTimeout: cfg.TTL, TLS: cfg.TLS,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: cfg.TTL, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{cfg: cfg, self: self, client: client, held: make(map[string]struct{}), changed: make(chan struct{}, 1), stop: stop, watched: make(chan struct{})}
	go s.watch(ctx)
	return s, nil
}

func (s *Store) master(id string) string  { return s.cfg.Prefix + "/masters/" + id }
func (s *Store) pool(name string) string  { return s.cfg.Prefix + "/pools/" + name }
func (s *Store) generation() string       { return s.cfg.Prefix + "/generation" }
func (s *Store) Changed() <-chan struct{} { return s.changed }

// value is what a pool's key says if we lead it.
func (s *Store) value(generation uint64) string {
	return s.self.ID + " " + s.self.Address + " " + strconv.FormatUint(generation, 10)
}

// fromValue returns the leader in a pool's key, and the lead's generation.
func fromValue(v string) (c elect.Candidate, generation uint64) {
	var text string
	c.ID, c.Address, _ = strings.Cut(v, " ")
	c.Address, text, _ = strings.Cut(c.Address, " ")
	generation, _ = strconv.ParseUint(text, 10, 64)
	return c, generation
}

// watch says that there is news, until ctx ends.
func (s *Store) watch(ctx context.Context) {
	defer close(s.watched)
	for ctx.Err() == nil {
		within, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for r := range s.client.Watch(within, s.cfg.Prefix+"/", clientv3.WithPrefix()) {
			if r.Err() != nil {
				break
			}
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
		cancel()
		select { // a watch that cannot be had is asked for again, not in a rush
		case <-ctx.Done():
		case <-time.After(s.cfg.TTL / 4):
		}
	}
}

// Renew implements elect.Store.
func (s *Store) Renew(ctx context.Context, lacks []string, edges int) (lost []string, err error) {
	presence := strings.Join(append([]string{s.self.Address, strconv.Itoa(edges)}, lacks...), " ")
	if s.lease != 0 {
		_, err := s.client.KeepAliveOnce(ctx, s.lease)
		if err == nil {
			return nil, s.enter(ctx, s.lease, presence)
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil, fmt.Errorf("etcd: renew: %w", err)
		}
		s.lease = 0
	}
	for pool := range s.held {
		lost = append(lost, pool)
	}
	granted, err := s.client.Grant(ctx, int64(s.cfg.TTL/time.Second))
	if err != nil {
		return nil, fmt.Errorf("etcd: lease: %w", err)
	}
	s.told = ""
	if err := s.enter(ctx, granted.ID, presence); err != nil {
		return nil, err
	}
	s.lease = granted.ID
	clear(s.held)
	return lost, nil
}

// enter writes our presence, if it has changed.
func (s *Store) enter(ctx context.Context, lease clientv3.LeaseID, presence string) error {
	if presence == s.told {
		return nil
	}
	if _, err := s.client.Put(ctx, s.master(s.self.ID), presence, clientv3.WithLease(lease)); err != nil {
		return fmt.Errorf("etcd: enter: %w", err)
	}
	s.told = presence
	return nil
}

// Look implements elect.Store.
func (s *Store) Look(ctx context.Context) (elect.View, error) {
	view := elect.View{Leads: make(map[string]elect.Lead)}
	r, err := s.client.Get(ctx, s.cfg.Prefix+"/", clientv3.WithPrefix())
	if err != nil {
		return view, fmt.Errorf("etcd: look: %w", err)
	}
	for _, kv := range r.Kvs {
		key := string(kv.Key)
		if id, ok := strings.CutPrefix(key, s.master("")); ok {
			address, rest, _ := strings.Cut(string(kv.Value), " ")
			edges, lacks, _ := strings.Cut(rest, " ")
			n, _ := strconv.Atoi(edges)
			view.Masters = append(view.Masters, elect.Candidate{ID: id, Address: address, Edges: n, Lacks: strings.Fields(lacks)})
		}
		if pool, ok := strings.CutPrefix(key, s.pool("")); ok {
			who, generation := fromValue(string(kv.Value))
			lead := elect.Lead{Leader: who, Fence: elect.Fence(generation, uint64(kv.CreateRevision))}
			view.Leads[pool] = lead
			if lead.Leader.ID == s.self.ID {
				s.held[pool] = struct{}{}
			}
		}
		if key == s.generation() {
			view.Generation, _ = strconv.ParseUint(string(kv.Value), 10, 64)
		}
	}
	s.gen = view.Generation
	return view, nil
}

// Take implements elect.Store.
func (s *Store) Take(ctx context.Context, pool string) (uint64, error) {
	if s.lease == 0 {
		return 0, errors.New("etcd: take: there is no lease that would end the lead")
	}
	key := s.pool(pool)
	r, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, s.value(s.gen), clientv3.WithLease(s.lease))).Commit()
	switch {
	case err != nil:
		return 0, fmt.Errorf("etcd: take: %w", err)
	case !r.Succeeded:
		return 0, nil
	}
	s.held[pool] = struct{}{}
	return elect.Fence(s.gen, uint64(r.Header.Revision)), nil
}

// Raise implements elect.Store.
func (s *Store) Raise(ctx context.Context, generation uint64) error {
	r, err := s.client.Get(ctx, s.generation())
	if err != nil {
		return fmt.Errorf("etcd: raise: %w", err)
	}
	same := clientv3.Compare(clientv3.ModRevision(s.generation()), "=", 0)
	if len(r.Kvs) > 0 {
		if now, _ := strconv.ParseUint(string(r.Kvs[0].Value), 10, 64); now >= generation {
			return nil
		}
		same = clientv3.Compare(clientv3.ModRevision(s.generation()), "=", r.Kvs[0].ModRevision)
	}
	done, err := s.client.Txn(ctx).If(same).Then(clientv3.OpPut(s.generation(), strconv.FormatUint(generation, 10))).Commit()
	switch {
	case err != nil:
		return fmt.Errorf("etcd: raise: %w", err)
	case !done.Succeeded:
		return errors.New("etcd: another master is raising the generation at the same time: try again")
	}
	return nil
}

// Leave implements elect.Store. It deletes the key only if it is still ours.
func (s *Store) Leave(ctx context.Context, pool string) error {
	delete(s.held, pool)
	key := s.pool(pool)
	if _, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(key), "=", s.lease)).Then(clientv3.OpDelete(key)).Commit(); err != nil {
		return fmt.Errorf("etcd: leave: %w", err)
	}
	return nil
}

// Quit implements elect.Store. Nothing may be called after it.
func (s *Store) Quit(ctx context.Context) error {
	s.stop()
	<-s.watched
	var err error
	if s.lease != 0 {
		_, err = s.client.Revoke(ctx, s.lease)
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		err = nil // it has ended by itself
	}
	return errors.Join(err, s.client.Close())
}
