//go:build integration

package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/integration/lab"
)

// target is an instance that is asked, and the host where it is.
type target struct{ Address, Host string }

// loss is a request that got no good answer.
type loss struct {
	at     time.Time // when it was sent
	target target
	reason string
}

// load is a steady stream of requests from one place to many targets, in turns. Each is a connection of its own: what a
// connection that stands would hide is seen.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	sent   int
	late   int // answered, but only when TCP had tried again
	losses []loss
}

const (
	loadRate = 200 // requests a second
	// A request is lost when TCP has given it up, or nearly: one that is only late is counted apart.
	loadPatience, loadLate = 5 * time.Second, time.Second
)

// startLoad begins to ask.
func startLoad(ctx context.Context, from lab.Space, targets []target) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{stop: stop}
	client := &http.Client{Timeout: loadPatience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: from.Dial}}
	l.done.Go(func() {
		tick := time.NewTicker(time.Second / loadRate)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.done.Go(func() { l.ask(client, targets[n%len(targets)]) })
			}
		}
	})
	return l
}

func (l *load) ask(client *http.Client, t target) {
	began := time.Now()
	err := func() error {
		resp, err := client.Get("http://" + t.Address + "/healthz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", resp.Status)
		}
		return nil
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err != nil {
		l.losses = append(l.losses, loss{began, t, err.Error()})
	} else if time.Since(began) > loadLate {
		l.late++
	}
}

// end stops asking, and waits for the last answers.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// of are the losses of targets on a host, or of those that are not there.
func (l *load) of(host string, there bool) []loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []loss
	for _, x := range l.losses {
		if (x.target.Host == host) == there {
			found = append(found, x)
		}
	}
	return found
}

// String is the sum of it, with some of the losses.
func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out strings.Builder
	fmt.Fprintf(&out, "%d requests, %d lost, %d later than %s", l.sent, len(l.losses), l.late, loadLate)
	return out.String()
}

// some are the first of many losses.
func some(losses []loss) string {
	var out strings.Builder
	for _, x := range losses[:min(len(losses), 5)] {
		fmt.Fprintf(&out, "\n%s %s on %s: %s", x.at.Format("15:04:05.000"), x.target.Address, x.target.Host, x.reason)
	}
	return out.String()
}
