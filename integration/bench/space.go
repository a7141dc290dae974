package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace, by the file that stands for it.
type space string

// named makes a namespace that ends with the benchmark.
func named(t *bench, name string) space {
	ip(t, "netns add "+name)
	t.Cleanup(func() { ip(t, "netns del "+name) })
	ip(t, "-n "+name+" link set lo up")
	return space("/run/netns/" + name)
}

// name is what `ip -n` takes.
func (s space) name() string { return strings.TrimPrefix(string(s), "/run/netns/") }

// ip is the ip command.
func ip(t *bench, line string) string {
	out, err := exec.CommandContext(t.ctx, "ip", strings.Fields(line)...).CombinedOutput()
	if err != nil && t.ctx.Err() != nil { // what is left has to go all the same
		out, err = exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	}
	if err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
	return string(out)
}

// pair joins two namespaces by a bare veth pair with an address at each end.
func pair(t *bench, a space, nameA, addressA string, b space, nameB, addressB string) {
	ip(t, fmt.Sprintf("link add %s netns %s type veth peer name %s netns %s", nameA, a.name(), nameB, b.name()))
	for _, end := range []struct {
		in            space
		link, address string
	}{{a, nameA, addressA}, {b, nameB, addressB}} {
		ip(t, fmt.Sprintf("-n %s addr add %s dev %s", end.in.name(), end.address, end.link))
		ip(t, fmt.Sprintf("-n %s link set %s up", end.in.name(), end.link))
	}
}

// inside runs do in a namespace, on a thread of its own that ends with it.
func inside[T any](s space, do func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		var r result
		f, err := os.Open(string(s))
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		if r.err = err; err == nil {
			r.v, r.err = do()
		}
		done <- r
	}()
	r := <-done
	return r.v, r.err
}

// until looks every millisecond.
func until(t *bench, limit time.Duration, what string, ok func() bool) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !ok(); <-tick.C {
		if time.Since(began) > limit || t.ctx.Err() != nil {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}
