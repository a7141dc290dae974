package main

import (
	"context"
	"fmt"
	"os"
)

// bench is what the rig takes for a test.
type bench struct {
	ctx      context.Context
	cleanups []func()
	failed   bool
}

// fatal leaves run early.
type fatal struct{}

// run does the work, then everything asked for by Cleanup, last first, and says whether all went well.
func (b *bench) run(work func()) bool {
	b.guard(work)
	for i := len(b.cleanups) - 1; i >= 0; i-- {
		b.guard(b.cleanups[i])
	}
	return !b.failed
}

func (b *bench) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(fatal); !ok {
				panic(r)
			}
		}
	}()
	f()
}

// Helper is for tests only.
func (b *bench) Helper() {}

// Cleanup adds work for the end.
func (b *bench) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

// Context ends when the user interrupts.
func (b *bench) Context() context.Context { return b.ctx }

// Failed says whether anything went wrong.
func (b *bench) Failed() bool { return b.failed }

// Logf prints for people.
func (b *bench) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Errorf prints and remembers.
func (b *bench) Errorf(format string, args ...any) {
	b.failed = true
	b.Logf(format, args...)
}

// Fatalf prints and ends the work.
func (b *bench) Fatalf(format string, args ...any) {
	b.Errorf(format, args...)
	panic(fatal{})
}
