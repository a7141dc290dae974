// Package rig sets up real worlds for the integration tests and the benchmark: a `berth standalone` with folders, pool,
// bridge and IPAM driver of its own on the machine's Docker Engine, a Consul agent, a second Docker Engine. Everything it
// makes carries a name of its own and is removed at the end, also when the test failed; then the logs are shown.
package rig

import (
	"context"
	"fmt"
	"os"
	"time"
)

// TB is what the rig needs of a test; *testing.T has it, and the benchmark brings its own.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// pollInterval is the pause between two looks of Eventually.
const pollInterval = 50 * time.Millisecond

// Eventually looks again and again until look returns nil, and fails with its last error when the time is over.
func Eventually(t TB, limit time.Duration, what string, look func() error) {
	t.Helper()
	if err := Within(limit, look); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Within looks again and again until look returns nil, and returns its last error when the time is over.
func Within(limit time.Duration, look func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("not within %s: %w", limit, err)
		}
	}
}

// tempDir makes a folder with a short name: paths of unix sockets end at 107 bytes.
func tempDir(t TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth-it-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// outlive is a context for work that must be done although the test has ended.
func outlive(t TB, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), limit)
}

func must[T any](v T, err error) func(t TB, what string, args ...any) T {
	return func(t TB, what string, args ...any) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
		}
		return v
	}
}
