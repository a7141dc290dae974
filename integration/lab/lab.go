// Package lab is a rack on one machine: three hosts, each a network namespace with a Docker Engine, a `berth net` and a
// `berth agent` of its own, one scheduler over the three Docker endpoints, a top-of-rack router with BIRD, and an office behind
// it. People use it by hand (`make lab`), and the tests of everything that takes more than one host use it as they do.
//
//	office 198.51.100.2 -- 198.51.100.1 tor 192.0.2.1 --+-- 192.0.2.5  fabric: the switch, and on it the scheduler
//	                                                    +-- 192.0.2.11 h1
//	                                                    +-- 192.0.2.12 h2
//	                                                    +-- 192.0.2.13 h3
//
// The hosts hang on a switch, so that nobody sees a link go down when one of them dies. The switch is in a namespace of its
// own: in the machine's, a Docker Engine's packet filter would drop what it forwards.
//
// Whatever a lab makes is found again by the name of its folder and of its namespaces. So nothing has to be written down
// while it works, and [Lab.Down] clears up after anything, a kill -9 of [Up] included.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options of a lab. All but Dir and Berth have defaults.
type Options struct {
	// Dir holds all its files. Paths of unix sockets end at 107 bytes, so its name must be short.
	Dir string
	// Name begins the names of its namespaces and of its hosts' Docker plugins; default "lab".
	Name string
	// Berth is the program.
	Berth string
	// Images are given to all hosts by the machine's own Docker Engine.
	Images []string
	// Resources are Calico resources beside the lab's own, as YAML documents.
	Resources string
	// SchedulerFlags are more flags of `berth standalone`; NetFlags of each `berth net`, AgentFlags of each `berth agent`.
	SchedulerFlags, NetFlags, AgentFlags []string
	// Progress is told what is being done; default nobody.
	Progress io.Writer `json:"-"`
}

// Lab is one that is up, or has been.
type Lab struct {
	o      Options
	Hosts  []*Host
	Router *Router
}

// settingsFile is written before anything else is made, and removed last.
const settingsFile = "lab.json"

// hosts is how many there are: with three, two can differ from the one that fails.
const hosts = 3

func newLab(o Options) *Lab {
	if o.Name == "" {
		o.Name = "lab"
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	l := &Lab{o: o}
	l.Router = &Router{lab: l}
	for n := 1; n <= hosts; n++ {
		l.Hosts = append(l.Hosts, &Host{lab: l, number: n, Name: fmt.Sprintf("h%d", n)})
	}
	return l
}

// ErrNone is the error of Open where there is no lab.
var ErrNone = errors.New("there is none")

// Open finds the lab of a folder.
func Open(dir string) (*Lab, error) {
	text, err := os.ReadFile(filepath.Join(dir, settingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the lab of %s: %w; `up` makes one", dir, ErrNone)
	}
	var o Options
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return nil, fmt.Errorf("open the lab of %s: %w", dir, err)
	}
	o.Dir = dir
	return newLab(o), nil
}

// Up makes a lab, and returns when every BGP session is established. What it has made until an error, it removes.
func Up(ctx context.Context, o Options) (*Lab, error) {
	l := newLab(o)
	if err := l.claim(); err != nil {
		return nil, fmt.Errorf("start a lab: %w", err)
	}
	if err := l.up(ctx); err != nil {
		err = fmt.Errorf("start a lab: %w\n%s", err, l.Logs(20))
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// claim takes the folder, and keeps what Open must know.
func (l *Lab) claim() error {
	if !filepath.IsAbs(l.o.Dir) {
		return fmt.Errorf("the folder %q is no absolute path", l.o.Dir)
	}
	if _, err := os.Stat(l.path(settingsFile)); err == nil {
		return fmt.Errorf("there is one in %s, up or left behind; `down` removes it", l.o.Dir)
	}
	for _, space := range l.spaces() {
		if _, err := os.Stat(space.path()); err == nil {
			return fmt.Errorf("there is a network namespace %s already; choose another name for the lab", space)
		}
	}
	if err := os.MkdirAll(l.o.Dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(l.o, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(l.path(settingsFile), text, 0o600)
}

func (l *Lab) up(ctx context.Context) error {
	l.say("switch, router, office")
	for _, step := range []func(context.Context) error{l.makeFabric, l.Router.make, l.makeOffice, l.writeSettings, l.saveImages} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	l.say("scheduler, and three hosts, each with its own Docker Engine")
	var scheduler error
	var wg sync.WaitGroup
	wg.Go(func() { scheduler = l.Scheduler().Start(ctx) })
	err := l.each(func(h *Host) error {
		if err := h.Boot(ctx); err != nil {
			return err
		}
		return h.loadImages(ctx)
	})
	wg.Wait()
	if err := errors.Join(scheduler, err, os.RemoveAll(l.path("images.tar"))); err != nil {
		return err
	}
	return l.Ready(ctx)
}

// each does something on all hosts at once.
func (l *Lab) each(do func(*Host) error) error {
	errs := make([]error, len(l.Hosts))
	var wg sync.WaitGroup
	for i, h := range l.Hosts {
		wg.Go(func() { errs[i] = do(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Ready waits until each host has its BGP sessions with the router and with the others.
func (l *Lab) Ready(ctx context.Context) error {
	l.say("BGP sessions")
	return eventually(ctx, 60*time.Second, "the lab is ready", func() error {
		for _, h := range l.Hosts {
			if err := h.ready(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// Down removes everything, whatever is left of it.
func (l *Lab) Down(ctx context.Context) error {
	l.say("ending everything")
	var errs []error
	errs = append(errs, l.Scheduler().Kill(ctx), l.each(func(h *Host) error { return h.Crash(ctx) }))
	errs = append(errs, l.Router.Daemon().Kill(ctx))
	for _, space := range l.spaces() {
		errs = append(errs, space.remove(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end the lab of %s: %w", l.o.Dir, err)
	}
	// With the settings last, a Down that is killed can be tried again.
	entries, err := os.ReadDir(l.o.Dir)
	for _, e := range entries {
		if e.Name() != settingsFile {
			err = errors.Join(err, os.RemoveAll(l.path(e.Name())))
		}
	}
	if err == nil {
		err = os.RemoveAll(l.o.Dir)
	}
	if err != nil {
		return fmt.Errorf("end the lab of %s: %w", l.o.Dir, err)
	}
	return nil
}

func (l *Lab) path(elements ...string) string {
	return filepath.Join(append([]string{l.o.Dir}, elements...)...)
}

func (l *Lab) say(what string) { fmt.Fprintf(l.o.Progress, "== lab: %s\n", what) }

// eventually looks again and again until look returns nil.
func eventually(ctx context.Context, limit time.Duration, what string, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
	}
}
