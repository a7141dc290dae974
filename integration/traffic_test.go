//go:build integration && slow

package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/integration/lab"
)

// traffic asks one address at a constant rate, whether answers come or not: who waits for an answer before the next question would hide
// what is slow. Each request has a connection of its own and is sent once, and every one that is not answered well counts, with its reason.
type traffic struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	phase  string
	took   []time.Duration // since the moment in which it was to be sent
	failed []string
	late   int // sent more than lateAfter behind its time: by this machine's fault
}

const (
	trafficPatience = 10 * time.Second
	lateAfter       = 100 * time.Millisecond
)

// startTraffic begins to ask from a place.
func startTraffic(ctx context.Context, from lab.Space, rate int, url string) *traffic {
	ctx, stop := context.WithCancel(ctx)
	l := &traffic{stop: stop}
	client := &http.Client{Timeout: trafficPatience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: from.Dial}}
	l.done.Go(func() {
		began := time.Now()
		timer := time.NewTimer(0)
		defer timer.Stop()
		for n := 0; ; n++ {
			due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
			timer.Reset(time.Until(due))
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				l.done.Go(func() { l.ask(client, url, due) })
			}
		}
	})
	return l
}

func (l *traffic) ask(client *http.Client, url string, due time.Time) {
	sent := time.Now()
	err := func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %.60q", resp.Status, body)
		}
		return err
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, time.Since(due))
	if sent.Sub(due) > lateAfter {
		l.late++
	}
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("%s (%s): %v", sent.Format("15:04:05.000"), l.phase, err))
	}
}

// during names what happens now, for failures and for the count.
func (l *traffic) during(phase string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = phase
}

// count is how many requests were answered, well or not.
func (l *traffic) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.took)
}

// end stops asking, and waits for the last answers.
func (l *traffic) end() {
	l.stop()
	l.done.Wait()
}

// String is the sum of it.
func (l *traffic) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	sorted := slices.Sorted(slices.Values(l.took))
	at := func(share float64) time.Duration {
		if len(sorted) == 0 {
			return 0
		}
		return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))].Round(100 * time.Microsecond)
	}
	text := fmt.Sprintf("%d requests, %d failed; p50 %s, p95 %s, p99 %s, longest %s; %d sent late", len(sorted), len(l.failed), at(0.5), at(0.95), at(0.99), at(1), l.late)
	return text + strings.Join(append([]string{""}, l.failed[:min(len(l.failed), 10)]...), "\n  ")
}
