//go:build integration && slow

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/lab"
	"github.com/berth-project/berth/integration/rig"
)

// fenceAfter is short, so that the test is.
const fenceAfter = 20 * time.Second

// TestLabPartition: a host whose cable is out of the switch takes its seats' addresses out of its own network; the instance
// starts elsewhere with the same address and host key; and when the cable is back in, never two answer.
func TestLabPartition(t *testing.T) {
	r := newRack(t, func(o *lab.Options) {
		o.SchedulerFlags = append(o.SchedulerFlags, "--fence-after", fenceAfter.String())
	})
	r.berth.Create(r.berth.App("wanderer", webImage, 1, rig.HTTPCheck("/healthz"),
		rig.With("unreachableStrategy", map[string]any{"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0})))
	r.berth.Settle(time.Minute)
	before := r.one("wanderer", time.Minute)
	var key string
	rig.Eventually(t, 30*time.Second, "sshd of the instance answers", func() (err error) {
		key, _, err = r.login(before.Address())
		return err
	})
	old := r.hostOf(before)
	first, _ := r.container(old, "wanderer")
	// The first container is known by a page that the next one does not have.
	if _, err := old.Docker(t.Context(), "exec", first, "sh", "-c", "echo first > /var/www/legacy-web/which"); err != nil {
		t.Fatal(err)
	}
	office := whoAnswers(t.Context(), r.Office(), before.Address())
	defer office.end()
	inside := whoAnswers(t.Context(), old.Space(), before.Address())
	defer inside.end()
	rig.Eventually(t, 10*time.Second, "the first container answers in both places", func() error {
		return errors.Join(office.is("first"), inside.is("first"))
	})

	cut := time.Now()
	if err := old.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 2*fenceAfter, "the host that is cut off withdraws the address", func() error { return inside.is("") })
	withdrawn := time.Since(cut)
	rig.Eventually(t, 2*time.Minute, "another container answers", func() error {
		if err := office.is("another"); err != nil {
			return fmt.Errorf("%w; queue: %s", err, r.berth.Queue())
		}
		return nil
	})
	moved := time.Since(cut)
	t.Logf("withdrawn %s after the cut, answered from another host after %s", withdrawn.Round(100*time.Millisecond), moved.Round(100*time.Millisecond))
	if state, err := old.Docker(t.Context(), "inspect", "--format", "{{.State.Running}}", first); err != nil || state != "true" {
		t.Errorf("the first container should run on, as nobody can reach it to stop it: %s %v", state, err)
	}
	after := r.one("wanderer", time.Minute)
	if after.Host == before.Host || after.Address() != before.Address() {
		t.Errorf("it was %s on %s, and is %s on %s", before.Address(), before.Host, after.Address(), after.Host)
	}
	if now, _, err := r.login(after.Address()); err != nil || now != key {
		t.Errorf("the host key was %s, and is %s (%v)", key, now, err)
	}

	healed := time.Now()
	if err := old.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, time.Minute, "the first container is stopped", func() error {
		out, err := old.Docker(t.Context(), "ps", "-q", "--no-trunc")
		if err == nil && strings.Contains(out, first) {
			err = errors.New("it still runs")
		}
		return err
	})
	t.Logf("the first container was stopped %s after the cable was back", time.Since(healed).Round(100*time.Millisecond))
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	rig.Eventually(t, 30*time.Second, "the host that was cut off has the way to the other", func() error { return inside.is("another") })
	pause(3 * time.Second)
	office.end()
	inside.end()
	for place, w := range map[string]*witness{"the office": office, before.Host: inside} {
		t.Logf("seen from %s: %s", place, strings.Join(w.turns, ", "))
		if i := slices.Index(w.turns, "another"); i < 0 || slices.Contains(w.turns[i:], "first") {
			t.Errorf("from %s the first container was seen after the other: %v", place, w.turns)
		}
	}
	r.checked()
}

// witness sees from one place who answers on an address over time: "first", "another", or "" for nobody.
type witness struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	turns []string // without repetitions
	since time.Time
}

// whoAnswers asks ten times a second.
func whoAnswers(ctx context.Context, from lab.Space, address string) *witness {
	ctx, stop := context.WithCancel(ctx)
	a := &witness{stop: stop, turns: []string{""}, since: time.Now()}
	client := &http.Client{Timeout: 900 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true, DialContext: from.Dial}}
	a.done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			who := answerer(client, address)
			a.mu.Lock()
			if a.turns[len(a.turns)-1] != who {
				a.turns, a.since = append(a.turns, who), time.Now()
			}
			a.mu.Unlock()
			<-tick.C
		}
	})
	return a
}

func answerer(client *http.Client, address string) string {
	resp, err := client.Get("http://" + address + "/which")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return "another"
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// is says whether it is that one who has answered for a while: a single request may get lost on a busy machine.
func (a *witness) is(who string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.turns[len(a.turns)-1]; now != who || time.Since(a.since) < time.Second {
		return fmt.Errorf("%q answers, want %q", now, who)
	}
	return nil
}

func (a *witness) end() {
	a.stop()
	a.done.Wait()
}
