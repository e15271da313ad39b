// Package kubernetes keeps an election in the Leases of a Kubernetes namespace, by a small client of our own. There is one Lease for each
// pool and one for each master's presence. Each write names the version that it replaces, so of two writers one gets a conflict. Wall
// clocks are not used: a Lease has expired when an observer has not seen it change for its duration, by the observer's own monotonic clock.
//
// The fencing number of a pool is its Lease's leaseTransitions and one more; each Take adds to them; its generation is an annotation. The
// generation for leads to come is the leaseTransitions of a Lease of its own. Deleting a pool's Lease by hand restarts its number, and
// every edge and agent that has seen a larger fence refuses the lead until the generation is raised.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/elect"
)

// Config is a Store's configuration. Empty values are what a pod finds in its place.
type Config struct {
	Server    string // base URL of the API server
	Namespace string
	TokenFile string
	CAFile    string
	Name      string // what all Leases' names begin with; empty: "evenkeel"
	TTL       time.Duration
}

// LeastTTL is the shortest time to live of a Lease, which counts in seconds.
const LeastTTL = time.Second

// Store is an elect.Store.
type Store struct {
	cfg      Config
	self     elect.Candidate
	api      *api
	lacks    string           // by the last Renew
	edges    string           // by the last Renew
	gen      uint64           // the generation that Look saw last
	held     map[string]lease // ours, by name: the pools' and our presence
	observed map[string]observed
}

// observed is when a Lease was first seen in a version.
type observed struct {
	version string
	at      time.Time
}

const (
	labelElection   = "evenkeel.io/election"
	annotateMaster  = "evenkeel.io/master"
	annotatePool    = "evenkeel.io/pool"
	annotateAddress = "evenkeel.io/address"
	annotateLacks   = "evenkeel.io/lacks"      // pools, of a master's presence
	annotateEdges   = "evenkeel.io/edges"      // how many are connected, of a master's presence
	annotateGen     = "evenkeel.io/generation" // of a pool's lead
)

// New returns a Store. It says nothing to the API server yet.
func New(cfg Config, self elect.Candidate) (*Store, error) {
	if cfg.Name == "" {
		cfg.Name = "evenkeel"
	}
	a, err := newAPI(&cfg)
	if err != nil {
		return nil, err
	}
	return &Store{cfg: cfg, self: self, api: a, held: make(map[string]lease), observed: make(map[string]observed)}, nil
}

// Changed implements elect.Store: the API is asked again and again instead.
func (s *Store) Changed() <-chan struct{} { return nil }

func (s *Store) pool(name string) string { return objectName(s.cfg.Name, "pool", name) }

func (s *Store) generation() string { return objectName(s.cfg.Name, "generation") }

func (s *Store) presence() string {
	name, _, _ := strings.Cut(s.self.ID, elect.LifeMark)
	return objectName(s.cfg.Name, "master", name)
}

// objectName makes a name that Kubernetes allows: lower case letters, digits, '-' and
// '.', the ends not marks. The hash keeps apart what that makes alike.
func objectName(parts ...string) string {
	plain := strings.Join(parts, "-")
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, plain)
	h := fnv.New32a()
	_, _ = h.Write([]byte(plain))
	return fmt.Sprintf("%s-%08x", clean[:min(len(clean), 200)], h.Sum32())
}

// blank is a Lease of ours that there is not yet.
func (s *Store) blank(name, about, what string) lease {
	return lease{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Metadata: metadata{Name: name,
		Labels: map[string]string{labelElection: s.cfg.Name}, Annotations: map[string]string{about: what}}}
}

// claim makes a Lease say that it is ours from now.
func (s *Store) claim(l lease) lease {
	l.Metadata.Annotations = maps.Clone(l.Metadata.Annotations)
	if l.Metadata.Annotations == nil {
		l.Metadata.Annotations = make(map[string]string)
	}
	l.Metadata.Annotations[annotateAddress] = s.self.Address
	if l.Metadata.Name == s.presence() {
		l.Metadata.Annotations[annotateLacks], l.Metadata.Annotations[annotateEdges] = s.lacks, s.edges
	}
	l.Spec.Holder, l.Spec.Seconds = s.self.ID, int64(s.cfg.TTL/time.Second)
	l.Spec.Renewed = time.Now().UTC().Format(microTime) // for people; no code uses it
	return l
}

// Renew implements elect.Store.
func (s *Store) Renew(ctx context.Context, lacks []string, edges int) (lost []string, err error) {
	s.lacks, s.edges = strings.Join(lacks, " "), strconv.Itoa(edges)
	if _, there := s.held[s.presence()]; !there {
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.held)) {
		now, err := s.keep(ctx, s.held[name])
		switch {
		case err == nil:
			s.held[name] = now
		case errors.Is(err, errLost):
			delete(s.held, name)
			if pool := now.Metadata.Annotations[annotatePool]; pool != "" {
				lost = append(lost, pool)
			}
		default:
			return nil, err
		}
	}
	return lost, nil
}

// errLost says that another master holds the Lease now.
var errLost = errors.New("it is another's")

// keep renews a Lease of ours. A conflict may be with our own write whose answer was lost, so keep reads the Lease before it reports a
// loss.
func (s *Store) keep(ctx context.Context, l lease) (lease, error) {
	now, err := s.api.update(ctx, s.claim(l))
	if err == nil || !hasCode(err, http.StatusConflict) && !hasCode(err, http.StatusNotFound) {
		return now, err
	}
	seen, err := s.api.get(ctx, l.Metadata.Name)
	switch {
	case hasCode(err, http.StatusNotFound):
		return l, errLost
	case err != nil:
		return l, err
	case seen.Spec.Holder != s.self.ID || seen.Spec.Transitions != l.Spec.Transitions:
		return l, errLost
	}
	now, err = s.api.update(ctx, s.claim(seen))
	if hasCode(err, http.StatusConflict) {
		return l, errLost
	}
	return now, err
}

// enter makes our presence, or takes over that of our former life.
func (s *Store) enter(ctx context.Context) error {
	l, err := s.api.get(ctx, s.presence())
	switch {
	case hasCode(err, http.StatusNotFound):
		name, _, _ := strings.Cut(s.self.ID, elect.LifeMark)
		l, err = s.api.create(ctx, s.claim(s.blank(s.presence(), annotateMaster, name)))
	case err == nil:
		l, err = s.api.update(ctx, s.claim(l))
	}
	if err != nil {
		return err
	}
	s.held[s.presence()] = l
	return nil
}

// Look implements elect.Store.
func (s *Store) Look(ctx context.Context) (elect.View, error) {
	view := elect.View{Leads: make(map[string]elect.Lead)}
	all, err := s.api.list(ctx, labelElection+"="+s.cfg.Name)
	if err != nil {
		return view, err
	}
	now := time.Now()
	for i := range all {
		l := &all[i]
		if l.Metadata.Name == s.generation() {
			view.Generation = uint64(l.Spec.Transitions)
			continue
		}
		if s.expired(now, l) {
			continue
		}
		who := elect.Candidate{ID: l.Spec.Holder, Address: l.Metadata.Annotations[annotateAddress]}
		if pool := l.Metadata.Annotations[annotatePool]; pool != "" {
			view.Leads[pool] = elect.Lead{Leader: who, Fence: fence(l)}
			if who.ID == s.self.ID {
				s.held[l.Metadata.Name] = *l
			}
		} else {
			who.Lacks = strings.Fields(l.Metadata.Annotations[annotateLacks])
			who.Edges, _ = strconv.Atoi(l.Metadata.Annotations[annotateEdges])
			view.Masters = append(view.Masters, who)
		}
	}
	s.gen = view.Generation
	return view, nil
}

func fence(l *lease) uint64 {
	generation, _ := strconv.ParseUint(l.Metadata.Annotations[annotateGen], 10, 64)
	return elect.Fence(generation, uint64(l.Spec.Transitions)+1)
}

// Raise implements elect.Store.
func (s *Store) Raise(ctx context.Context, generation uint64) error {
	l, err := s.api.get(ctx, s.generation())
	if hasCode(err, http.StatusNotFound) {
		l = s.blank(s.generation(), annotateGen, "all")
		l.Spec.Transitions, l.Spec.Seconds = int64(generation), int64(s.cfg.TTL/time.Second) // the API takes no Lease without a time
		_, err = s.api.create(ctx, l)
		return err
	}
	if err != nil || uint64(l.Spec.Transitions) >= generation {
		return err
	}
	l.Spec.Transitions = int64(generation)
	_, err = s.api.update(ctx, l)
	return err
}

// expired reports whether a Lease has no holder. Its time begins when this process first
// sees it as it is, which is after it was written.
func (s *Store) expired(now time.Time, l *lease) bool {
	seen := s.observed[l.Metadata.Name]
	if seen.version != l.Metadata.ResourceVersion {
		seen = observed{l.Metadata.ResourceVersion, now}
		s.observed[l.Metadata.Name] = seen
	}
	return l.Spec.Holder == "" || now.Sub(seen.at) >= time.Duration(l.Spec.Seconds)*time.Second
}

// Take implements elect.Store.
func (s *Store) Take(ctx context.Context, pool string) (uint64, error) {
	l, err := s.api.get(ctx, s.pool(pool))
	switch {
	case hasCode(err, http.StatusNotFound):
		l, err = s.api.create(ctx, s.taken(s.blank(s.pool(pool), annotatePool, pool)))
	case err == nil && !s.expired(time.Now(), &l):
		return 0, nil
	case err == nil:
		l.Spec.Transitions++
		l, err = s.api.update(ctx, s.taken(l))
	}
	switch {
	case hasCode(err, http.StatusConflict):
		return 0, nil
	case err != nil:
		return 0, err
	}
	s.held[l.Metadata.Name] = l
	return fence(&l), nil
}

func (s *Store) taken(l lease) lease {
	l = s.claim(l)
	l.Metadata.Annotations[annotateGen] = strconv.FormatUint(s.gen, 10)
	l.Spec.Acquired = l.Spec.Renewed
	return l
}

// Leave implements elect.Store: the Lease stays, without a holder.
func (s *Store) Leave(ctx context.Context, pool string) error { return s.release(ctx, s.pool(pool)) }

func (s *Store) release(ctx context.Context, name string) error {
	l, ours := s.held[name]
	if !ours {
		return nil
	}
	delete(s.held, name)
	l.Spec.Holder = ""
	_, err := s.api.update(ctx, l)
	if hasCode(err, http.StatusConflict) || hasCode(err, http.StatusNotFound) {
		return nil // it is another's by now, or of a newer version, and will expire
	}
	return err
}

// Quit implements elect.Store.
func (s *Store) Quit(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.held)) {
		errs = append(errs, s.release(ctx, name))
	}
	s.api.client.CloseIdleConnections()
	return errors.Join(errs...)
}
