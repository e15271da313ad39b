package enrol

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// memory is a Store of one process.
type memory struct {
	mu     sync.Mutex // guards the following
	values map[string]kept
}

type kept struct {
	value   []byte
	version int
	until   time.Time
}

// mostKept bounds the tokens that have not ended.
const mostKept = 10_000

var errFull = errors.New("there are 10,000 tokens that have not ended, the most that are kept")

func newMemory() *memory { return &memory{values: make(map[string]kept)} }

func (m *memory) Add(_ context.Context, name string, value []byte, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, k := range m.values {
		if time.Now().After(k.until) {
			delete(m.values, name)
		}
	}
	if len(m.values) >= mostKept {
		return errFull
	}
	if _, there := m.values[name]; there {
		return errThere
	}
	m.values[name] = kept{value, 1, until}
	return nil
}

var errThere = errors.New("there is such a token already")

func (m *memory) Get(_ context.Context, name string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.values[name]
	return k.value, strconv.Itoa(k.version), nil
}

func (m *memory) Names(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.values)), nil
}

func (m *memory) Swap(_ context.Context, name, version string, value []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, there := m.values[name]
	if !there || strconv.Itoa(k.version) != version {
		return false, nil
	}
	m.values[name] = kept{value, k.version + 1, k.until}
	return true, nil
}
