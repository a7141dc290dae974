package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is a store without a disk, for rehearsals and tests: the same records in maps. It can be told to fail.
type Memory struct {
	mu      sync.Mutex // guards all below
	data    map[string]map[string][]byte
	commits int
	fail    map[int]error // by the number of the commit, from 1
	closed  bool
}

var _ Store = (*Memory)(nil)

// NewMemory is an empty store.
func NewMemory() *Memory {
	m := &Memory{data: map[string]map[string][]byte{}, fail: map[int]error{}}
	for _, b := range buckets() {
		m.data[b] = map[string][]byte{}
	}
	return m
}

// FailCommit makes the n-th commit from now (1 is the next) fail with err and change nothing.
func (m *Memory) FailCommit(n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail[m.commits+n] = err
}

// Commits counts the calls of Commit that had something to write, failed ones included.
func (m *Memory) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// Load reads the whole state. It also works after Close, as a restarted scheduler opens the same store again.
func (m *Memory) Load(ctx context.Context) (*State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load state from memory: %w", err)
	}
	s := NewState()
	for _, bucket := range buckets() {
		for _, key := range slices.Sorted(maps.Keys(m.data[bucket])) {
			if err := s.decode(bucket, key, m.data[bucket][key]); err != nil {
				return nil, fmt.Errorf("load state from memory: %w", err)
			}
		}
	}
	s.sortVersions()
	m.closed = false
	return s, nil
}

// Commit applies t, unless it was told to fail.
func (m *Memory) Commit(ctx context.Context, t Txn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes, err := t.encoded()
	if err := errors.Join(ctx.Err(), err); err != nil {
		return fmt.Errorf("commit to memory: %w", err)
	}
	if m.closed {
		return errors.New("commit to memory: the store is closed")
	}
	if t.Empty() {
		return nil
	}
	m.commits++
	if err := m.fail[m.commits]; err != nil {
		delete(m.fail, m.commits)
		return fmt.Errorf("commit to memory: %w", err)
	}
	// Nothing is undone on an error: in maps only a damaged sequence number could cause one, and nobody damages it here.
	if err := apply(memoryRecords(m.data), changes); err != nil {
		return fmt.Errorf("commit to memory: %w", err)
	}
	return nil
}

// Close makes further commits fail, until the next Load.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

type memoryRecords map[string]map[string][]byte

func (r memoryRecords) get(bucket, key string) []byte { return r[bucket][key] }

func (r memoryRecords) put(bucket, key string, value []byte) error {
	r[bucket][key] = value
	return nil
}

func (r memoryRecords) delete(bucket, key string) error {
	delete(r[bucket], key)
	return nil
}

func (r memoryRecords) keys(bucket, prefix string) []string {
	var keys []string
	for k := range r[bucket] {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
