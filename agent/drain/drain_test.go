package drain

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/spec"
)

// script says which connections there are at a time after the drain began.
type script func(at time.Duration) (Sockets, error)

func open(n int, accepted uint64) (Sockets, error) {
	return Sockets{Open: map[uint16]int{80: n, 22: 7}, Accepted: accepted}, nil
}

func TestWaits(t *testing.T) {
	out := func(now time.Time) *spec.Drain { return &spec.Drain{Heard: now, Out: now} }
	nowhere := func(now time.Time) *spec.Drain { return &spec.Drain{Heard: now} } // it was not in Consul
	for _, c := range []struct {
		name       string
		out        func(time.Time) *spec.Drain
		task       Task
		read       script
		over       time.Duration // at the earliest; at most a reading later
		open, left int
	}{
		{"nobody was told of it", nowhere, Task{Pid: 1}, nil, 0, 0, 0},
		{"it has ended", out, Task{Ports: []int{80}, For: time.Minute}, nil, 0, 0, 0},
		{"a moment for Consul's watchers", out, Task{Pid: 1}, nil, settle, 0, 0},
		{"no wait is wanted", out, Task{Pid: 1, Ports: []int{80}}, func(time.Duration) (Sockets, error) { return open(3, 0) }, settle, 3, 3},
		{"nobody is connected", out, Task{Pid: 1, Ports: []int{80}, For: time.Minute}, func(time.Duration) (Sockets, error) { return open(0, 9) }, settle, 0, 0},
		{"clients leave", nowhere, Task{Pid: 1, Ports: []int{80}, For: time.Minute}, func(at time.Duration) (Sockets, error) {
			if at < 7*time.Second {
				return open(2, 9)
			}
			return open(0, 9)
		}, 7 * time.Second, 2, 0},
		{"clients stay", out, Task{Pid: 1, Ports: []int{80}, For: 3 * time.Second}, func(time.Duration) (Sockets, error) { return open(2, 9) }, 3 * time.Second, 2, 2},
		{"a proxy that was not told comes for short requests", out, Task{Pid: 1, Ports: []int{80}, For: time.Minute}, func(at time.Duration) (Sockets, error) {
			return open(0, uint64(min(at, 4*time.Second)/(10*time.Millisecond)))
		}, 4*time.Second + settle, 0, 0},
		{"what others of the host accept means nothing", out, Task{Pid: 1, Ports: []int{80}, For: time.Minute, Shared: true}, func(at time.Duration) (Sockets, error) {
			return open(0, uint64(at))
		}, settle, 0, 0},
		{"it ends by itself", out, Task{Pid: 1, Ports: []int{80}, For: time.Minute}, func(at time.Duration) (Sockets, error) {
			if at < 2*time.Second {
				return open(2, 9)
			}
			return Sockets{}, fs.ErrNotExist
		}, 2 * time.Second, 2, 0},
		{"its process is not known", out, Task{Pid: Unknown, Ports: []int{80}, For: 2 * time.Second}, nil, 2 * time.Second, 0, 0},
		{"nobody knows", out, Task{Pid: 1, Ports: []int{80}, For: 2 * time.Second}, func(time.Duration) (Sockets, error) { return Sockets{}, errors.New("no") }, 2 * time.Second, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := logrus.New()
				log.SetOutput(io.Discard)
				begin, readings := time.Now(), 0
				w := New(log)
				w.read = func(int) (Sockets, error) { readings++; return c.read(time.Since(begin)) }
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- w.Run(ctx) }()
				defer func() { cancel(); <-done }()
				c.task.ID = "t"
				w.Set([]Task{c.task})
				time.Sleep(-time.Until(begin) + time.Hour)
				begin = time.Now()
				if all, _ := w.Results().Get(); len(all) > 0 || readings > 0 {
					t.Fatalf("clients may still find it: %v, %d readings", all, readings)
				}
				c.task.Out = c.out(begin)
				w.Set([]Task{c.task})
				synctest.Wait()
				for end := begin.Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					synctest.Wait()
					if all, _ := w.Results().Get(); len(all) > 0 {
						break
					}
				}
				all, _ := w.Results().Get()
				got := all["t"]
				if took := got.Over.Sub(begin); took < c.over || took > c.over+2*pace {
					t.Errorf("over after %v, want %v", took, c.over)
				}
				if got.Open != c.open || got.Left != c.left || !got.Heard.Before(begin) {
					t.Errorf("got %+v", got)
				}
				if most := int(got.Over.Sub(begin)/pace) + 3; readings > most {
					t.Errorf("%d readings, want at most %d", readings, most)
				}
				w.Set(nil)
				synctest.Wait()
				if all, _ := w.Results().Get(); len(all) > 0 {
					t.Errorf("the task is gone, and %v", all)
				}
				before := readings
				time.Sleep(time.Hour)
				if readings != before {
					t.Error("it reads while nothing drains")
				}
			})
		})
	}
}
