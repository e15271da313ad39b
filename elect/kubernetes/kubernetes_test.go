package kubernetes

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-lb/evenkeel/elect"
	"github.com/evenkeel-lb/evenkeel/elect/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t *testing.T, s *apiServer, id string) *Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := New(Config{Server: s.URL, Namespace: "prod", TokenFile: file, TTL: time.Minute}, elect.Candidate{ID: id, Address: id + ":7400"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.api.client.CloseIdleConnections)
	return store
}

// age makes all that an observer has seen older than any Lease lasts.
func age(s *Store) {
	for name, seen := range s.observed {
		seen.at = seen.at.Add(-2 * time.Minute)
		s.observed[name] = seen
	}
}

const awkward = "Web_Pool.2" // no name of an object

func TestOneTakesAPoolAndKeepsIt(t *testing.T) {
	server := newAPIServer(t)
	a, b := newStore(t, server, "a~1"), newStore(t, server, "b~1")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	if fence := storetest.Take(t, a, awkward); fence != 1 {
		t.Fatalf("fence %d of the first lead, want 1", fence)
	}
	if fence := storetest.Take(t, b, awkward); fence != 0 {
		t.Fatalf("another took a pool that is led, with fence %d", fence)
	}
	v := storetest.Look(t, b)
	if l := v.Leads[awkward]; l.Leader.ID != a.self.ID || l.Leader.Address != a.self.Address || l.Fence != 1 || len(v.Masters) != 2 {
		t.Errorf("the view is %+v, want the lead of a~1 and both masters", v)
	}
	age(b)
	if lost := storetest.Renew(t, a); len(lost) > 0 {
		t.Fatalf("lost %v", lost)
	}
	if _, led := storetest.Look(t, b).Leads[awkward]; !led {
		t.Error("a lead that was renewed has expired")
	}
}

// Others are told in which pools a master knows no servers, as long as it does not.
func TestWhatAMasterLacksIsTold(t *testing.T) {
	server := newAPIServer(t)
	a, b := newStore(t, server, "a~1"), newStore(t, server, "b~1")
	for _, lacks := range [][]string{{"web", awkward}, {"web"}, nil} {
		if _, err := a.Renew(context.Background(), lacks, 0); err != nil {
			t.Fatal(err)
		}
		if v := storetest.Look(t, b); len(v.Masters) != 1 || !slices.Equal(v.Masters[0].Lacks, lacks) {
			t.Errorf("the masters are %+v, want one that lacks %v", v.Masters, lacks)
		}
	}
}

func TestAnExpiredLeadIsTakenOver(t *testing.T) {
	server := newAPIServer(t)
	a, b := newStore(t, server, "a~1"), newStore(t, server, "b~1")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	storetest.Take(t, a, "web")
	storetest.Look(t, b)
	age(b)
	if _, led := storetest.Look(t, b).Leads["web"]; led {
		t.Error("a lead that is not renewed has not expired")
	}
	if fence := storetest.Take(t, b, "web"); fence != 2 {
		t.Fatalf("fence %d, want 2", fence)
	}
	if lost := storetest.Renew(t, a); len(lost) != 1 || lost[0] != "web" {
		t.Errorf("the old leader's renewal lost %v, want the pool", lost)
	}
	if lead := storetest.Look(t, a).Leads["web"]; lead.Leader.ID != "b~1" {
		t.Errorf("the old leader sees %+v", lead)
	}
}

func TestALeadThatIsLeftIsFreeAtOnce(t *testing.T) {
	server := newAPIServer(t)
	a, b := newStore(t, server, "a~1"), newStore(t, server, "b~1")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	storetest.Take(t, a, "web")
	if err := a.Leave(context.Background(), "web"); err != nil {
		t.Fatal(err)
	}
	if fence := storetest.Take(t, b, "web"); fence != 2 {
		t.Fatalf("fence %d, want 2", fence)
	}
	if err := b.Quit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if v := storetest.Look(t, a); len(v.Leads) != 0 || len(v.Masters) != 1 {
		t.Errorf("after one has quit the view is %+v, want the other master alone", v)
	}
}

// The answer to a renewal may be lost though it was done: the conflict that follows is
// with ourselves.
func TestARenewalWhoseAnswerIsLost(t *testing.T) {
	server := newAPIServer(t)
	a := newStore(t, server, "a~1")
	storetest.Renew(t, a)
	storetest.Take(t, a, "web")
	server.mu.Lock()
	server.drop = true
	server.mu.Unlock()
	if _, err := a.Renew(context.Background(), nil, 0); err == nil {
		t.Fatal("no error though the connection broke")
	}
	if lost := storetest.Renew(t, a); len(lost) > 0 {
		t.Errorf("lost %v, although no other master wrote", lost)
	}
}

func TestOfManyWhoTakeOneWins(t *testing.T) {
	server := newAPIServer(t)
	var stores []*Store
	for _, id := range []string{"a~1", "b~1", "c~1", "d~1"} {
		s := newStore(t, server, id)
		storetest.Renew(t, s)
		stores = append(stores, s)
	}
	for round := range uint64(5) {
		var (
			mu     sync.Mutex
			won    []*Store
			taking sync.WaitGroup
		)
		for _, s := range stores {
			taking.Go(func() {
				fence, err := s.Take(context.Background(), "web")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if fence != 0 {
					if won = append(won, s); fence != round+1 {
						t.Errorf("fence %d in round %d", fence, round)
					}
				}
			})
		}
		taking.Wait()
		if len(won) != 1 {
			t.Fatalf("%d took the pool at once", len(won))
		}
		if err := won[0].Leave(context.Background(), "web"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARestartedMasterTakesItsPlaceBack(t *testing.T) {
	server := newAPIServer(t)
	storetest.Renew(t, newStore(t, server, "a~1"))
	again := newStore(t, server, "a~2")
	storetest.Renew(t, again)
	if v := storetest.Look(t, again); len(v.Masters) != 1 || v.Masters[0].ID != "a~2" {
		t.Errorf("the masters are %+v, want the new life of a alone", v.Masters)
	}
}

func TestAGenerationRaisesAllFencesToCome(t *testing.T) {
	server := newAPIServer(t)
	storetest.Generation(t, newStore(t, server, "a~1"), newStore(t, server, "b~1"), awkward)
}

func TestAWrongTokenIsTold(t *testing.T) {
	server := newAPIServer(t)
	s := newStore(t, server, "a~1")
	if err := os.WriteFile(s.api.tokenFile, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Renew(context.Background(), nil, 0); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") {
		t.Errorf("the error is %v, want the API server's 401", err)
	}
}

func TestOutsideAClusterTheServerMustBeNamed(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := New(Config{TTL: time.Second}, elect.Candidate{}); err == nil || !strings.Contains(err.Error(), "KUBERNETES_SERVICE_HOST") {
		t.Errorf("the error is %v", err)
	}
}
