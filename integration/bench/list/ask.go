package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// answers are the durations of many requests, and the size of the last answer.
type answers struct {
	took   []time.Duration
	bytes  int64
	failed []error
}

func (a answers) err() error { return errors.Join(a.failed...) }

// at is the duration that a share of the requests kept within; took is sorted.
func (a answers) at(share float64) time.Duration {
	if len(a.took) == 0 {
		return 0
	}
	return a.took[min(len(a.took)-1, int(share*float64(len(a.took))))]
}

func (a answers) show(what string, bytes int64) {
	fmt.Printf("%s  p50 %s   p95 %s   p99 %s   max %s   %d answers of %d bytes, %d failed\n",
		what, ms(a.at(0.5)), ms(a.at(0.95)), ms(a.at(0.99)), ms(a.at(1)), len(a.took), bytes, len(a.failed))
}

func ms(d time.Duration) string { return fmt.Sprintf("%6.1f ms", float64(d.Microseconds())/1000) }

func encoding(packed bool) string {
	if packed {
		return "gzip "
	}
	return "plain"
}

// byEncoding are the answers to the clients that accept gzip and to the others.
type byEncoding map[bool]*answers

func newAnswers() byEncoding { return byEncoding{false: {}, true: {}} }

func (b byEncoding) sort() {
	for _, a := range b {
		slices.Sort(a.took)
	}
}

func (b byEncoding) of(packed bool) answers { return *b[packed] }

// ask lets all clients ask for one turn, spread evenly over their interval. A duration ends with the last byte.
func ask(ctx context.Context, z size, url string, out byEncoding) {
	ctx, cancel := context.WithTimeout(ctx, z.measure/turns)
	defer cancel()
	var mu sync.Mutex // guards out
	var all sync.WaitGroup
	for i := range z.clients {
		all.Go(func() {
			packed := i%2 == 1
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			start := time.NewTimer(z.every * time.Duration(i) / time.Duration(z.clients))
			defer start.Stop()
			select {
			case <-start.C:
			case <-ctx.Done():
				return
			}
			tick := time.NewTicker(z.every)
			defer tick.Stop()
			for {
				took, n, err := get(ctx, client, url, packed)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				if a := out[packed]; err != nil {
					a.failed = append(a.failed, err)
				} else {
					a.took, a.bytes = append(a.took, took), n
				}
				mu.Unlock()
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	all.Wait()
}

func get(ctx context.Context, client *http.Client, url string, packed bool) (time.Duration, int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for %s: %w", url, err)
	}
	if packed {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	began := time.Now()
	answer, err := client.Do(r)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for %s: %w", url, err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask for %s: %s", url, answer.Status)
	}
	return time.Since(began), n, err
}
