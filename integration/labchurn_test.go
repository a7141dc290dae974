//go:build integration && slow

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/lab"
	"github.com/berth-project/berth/integration/rig"
)

// TestLabPairs: what TestLab kills alone is killed in pairs, at one moment.
func TestLabPairs(t *testing.T) {
	r := newRack(t)
	targets := r.pinned(2)
	for i, a := range parts {
		for _, b := range parts[:i] {
			t.Run(strings.ReplaceAll(b+" and "+a, "/", " "), func(t *testing.T) { r.in(t).kill(targets, a, b) })
		}
	}
	r.checked()
}

// churned is how many containers have come when TestLabChurn is content.
const churned = 500

// TestLabChurn: containers come and go at random on three hosts while agents and networks' processes are killed at random.
// No address is ever on two containers, and in the end everybody is of one mind. BERTH_SEED=N plays a schedule again, as far as the
// machine's own timing allows.
func TestLabChurn(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("BERTH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	r := newRack(t)
	w := watchAddresses(r)
	c := &churn{rack: r, watch: w, random: rand.New(rand.NewPCG(seed, 0)), size: map[string]int{}}
	began := time.Now()
	for w.seen() < churned {
		if time.Since(began) > 25*time.Minute {
			t.Fatalf("only %d containers came in %s", w.seen(), time.Since(began).Round(time.Second))
		}
		c.step()
	}
	for part := range c.away {
		if err := r.Start(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	r.berth.Settle(5 * time.Minute)
	t.Logf("%d containers in %s; %d kills of agents and networks", w.seen(), time.Since(began).Round(time.Second), c.kills)
	r.checked()
	c.empty()
	r.checked()
	rig.Eventually(t, 20*time.Second, "every end was told", func() error {
		if left := w.running(); len(left) > 0 {
			return fmt.Errorf("nothing is wanted, and there are %v", left)
		}
		return nil
	})
	twice, unknown := w.twice()
	for _, what := range twice {
		t.Errorf("an address was on two containers: %s", what)
	}
	t.Logf("%d containers ended before they could be asked for their address", unknown)
}

// churn is what happens at random.
type churn struct {
	*rack
	watch  *watch
	random *rand.Rand
	size   map[string]int // instances of each app
	plain  []string       // containers of `docker run`, as HOST/NAME
	away   map[string]bool
	kills  int
}

// Bounds of the crowd: enough that addresses are short in blocks, few enough that a small machine gets on.
const (
	churnApps, churnInstances, churnPlain = 6, 6, 6
)

func (c *churn) step() {
	switch c.random.IntN(10) {
	case 0, 1, 2, 3:
		c.scale()
	case 4, 5:
		c.killContainer()
	case 6, 7:
		c.runPlain()
	case 8:
		c.killPart()
	case 9:
		pause(time.Duration(c.random.IntN(2000)) * time.Millisecond)
	}
	c.startParts(c.random.IntN(3) == 0)
}

// scale gives an app another size; it may come or go as a whole.
func (c *churn) scale() {
	app := fmt.Sprintf("app%d", c.random.IntN(churnApps))
	n := c.random.IntN(churnInstances + 1)
	was, known := c.size[app]
	switch {
	case !known:
		definition := c.berth.App(app, baseImage, n, rig.With("cmd", "trap 'exit 0' TERM; sleep 1d & wait"), rig.With("cpus", 0.01), rig.With("mem", 16))
		c.must("POST", "/v2/apps?force=true", definition)
	case n == 0 && was > 0 && c.random.IntN(2) == 0:
		c.must("DELETE", "/v2/apps"+c.berth.AppID(app)+"?force=true", nil)
		delete(c.size, app)
		return
	case n == was && n > 0:
		c.must("POST", "/v2/apps"+c.berth.AppID(app)+"/restart?force=true", map[string]any{})
	default:
		c.must("PUT", "/v2/apps"+c.berth.AppID(app)+"?force=true", map[string]any{"instances": n})
	}
	c.size[app] = n
}

func (c *churn) must(method, path string, body any) {
	c.Helper()
	if code, answer := c.berth.Do(method, path, body); code/100 != 2 {
		c.Fatalf("%s %s: %d %s", method, path, code, answer)
	}
}

// killContainer kills one behind everybody's back.
func (c *churn) killContainer() {
	h := c.Hosts[c.random.IntN(len(c.Hosts))]
	out, err := h.Docker(c.Context(), "ps", "-q")
	if err != nil {
		c.Fatal(err)
	}
	if ids := strings.Fields(out); len(ids) > 0 {
		// It may have ended by now, and where the network's process is away, Docker answers a minute later what it does at once.
		ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
		defer cancel()
		_, _ = h.Docker(ctx, "kill", ids[c.random.IntN(len(ids))])
	}
}

// runPlain starts a container that is nobody's seat, or removes one.
func (c *churn) runPlain() {
	if len(c.plain) >= churnPlain || len(c.plain) > 0 && c.random.IntN(3) == 0 {
		i := c.random.IntN(len(c.plain))
		c.removePlain(c.plain[i])
		c.plain = append(c.plain[:i], c.plain[i+1:]...)
		return
	}
	h := c.Hosts[c.random.IntN(len(c.Hosts))]
	if c.away[h.Name+"/net"] {
		return // Docker would wait for it, as it says
	}
	name := fmt.Sprintf("plain%d", c.random.Uint32())
	if _, err := h.Docker(c.Context(), "run", "-d", "--name", name, "--network", lab.Pool, "--entrypoint", "sleep", baseImage, "1d"); err != nil {
		c.Errorf("%v", err)
		return
	}
	c.plain = append(c.plain, h.Name+"/"+name)
}

func (c *churn) removePlain(at string) {
	host, name, _ := strings.Cut(at, "/")
	c.startParts(c.away[host+"/net"]) // or Docker takes a minute
	h, err := c.Host(host)
	if err == nil {
		_, err = h.Docker(c.Context(), "rm", "-f", name)
	}
	if err != nil {
		c.Errorf("%v", err)
	}
}

// killPart kills an agent, or a network's process, unless it is away already.
func (c *churn) killPart() {
	part := fmt.Sprintf("h%d/%s", 1+c.random.IntN(len(c.Hosts)), []string{"agent", "agent", "net"}[c.random.IntN(3)])
	if c.away[part] {
		return
	}
	if err := c.Kill(c.Context(), part); err != nil {
		c.Fatal(err)
	}
	if c.away == nil {
		c.away = map[string]bool{}
	}
	c.away[part] = true
	c.kills++
}

func (c *churn) startParts(now bool) {
	if !now {
		return
	}
	for part := range c.away {
		if err := c.Start(c.Context(), part); err != nil {
			c.Fatal(err)
		}
		delete(c.away, part)
	}
}

// empty ends everything, as operators do.
func (c *churn) empty() {
	for app := range c.size {
		c.must("DELETE", "/v2/apps"+c.berth.AppID(app)+"?force=true", nil)
	}
	for _, at := range c.plain {
		c.removePlain(at)
	}
	c.berth.Settle(3 * time.Minute)
	for _, h := range c.Hosts {
		rig.Eventually(c, 2*time.Minute, h.Name+" is empty", func() error {
			out, err := h.Docker(c.Context(), "ps", "-q")
			if err == nil && out != "" {
				err = fmt.Errorf("there are %s", out)
			}
			return err
		})
	}
}

// watch follows every container of all hosts by the engines' own events, which have the time and leave nothing out. So it
// knows who had which address from when to when.
type watch struct {
	*rack
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	runs []*ran
}

// ran is the life of a container.
type ran struct {
	host, id, address string
	from, until       time.Time // until is zero while it runs
}

func (x *ran) String() string {
	until := "now"
	if !x.until.IsZero() {
		until = x.until.Format("15:04:05.000")
	}
	return fmt.Sprintf("%s on %s from %s to %s", x.id[:12], x.host, x.from.Format("15:04:05.000"), until)
}

func watchAddresses(r *rack) *watch {
	r.Helper()
	ctx, stop := context.WithCancel(r.Context())
	w := &watch{rack: r, stop: stop}
	for _, h := range r.Hosts {
		cmd := exec.CommandContext(ctx, "docker", "--host", h.Engine(), "events", "--since", "0",
			"--filter", "type=container", "--filter", "event=start", "--filter", "event=die", "--format", "{{json .}}")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			r.Fatal(err)
		}
		w.done.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				var e rig.Event
				if json.Unmarshal(lines.Bytes(), &e) == nil {
					w.take(ctx, h, e)
				}
			}
			_ = cmd.Wait() // ended by us
		})
	}
	r.Cleanup(w.end)
	return w
}

func (w *watch) end() {
	w.stop()
	w.done.Wait()
}

// take takes in one event. What has ended before it could be asked for its address has "".
func (w *watch) take(ctx context.Context, h *lab.Host, e rig.Event) {
	address := ""
	if e.Action == "start" {
		address, _ = h.Docker(ctx, "inspect", "--format", addressOf, e.Actor.ID)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Action == "start" {
		w.runs = append(w.runs, &ran{host: h.Name, id: e.Actor.ID, address: address, from: e.At()})
		return
	}
	for _, x := range slices.Backward(w.runs) {
		if x.id == e.Actor.ID {
			x.until = e.At()
			return
		}
	}
}

// addressOf is what inspect is asked: a container that has ended still says which address it wanted.
const addressOf = `{{with index .NetworkSettings.Networks "` + lab.Pool + `"}}{{if .IPAddress}}{{.IPAddress}}{{else if .IPAMConfig}}{{.IPAMConfig.IPv4Address}}{{end}}{{end}}`

func (w *watch) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.runs)
}

// twice are the addresses that two containers had at one time, and how many lives could not be looked at.
func (w *watch) twice() (found []string, unknown int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	by := map[string][]*ran{}
	for _, x := range w.runs {
		if x.address == "" {
			unknown++
			continue
		}
		by[x.address] = append(by[x.address], x)
	}
	for address, runs := range by {
		slices.SortFunc(runs, func(a, b *ran) int { return a.from.Compare(b.from) })
		for i, x := range runs[1:] {
			if before := runs[i]; before.until.IsZero() || x.from.Before(before.until) {
				found = append(found, fmt.Sprintf("%s: %s, and %s", address, before, x))
			}
		}
	}
	return found, unknown
}

// running are those that have not ended.
func (w *watch) running() []*ran {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.runs), func(x *ran) bool { return !x.until.IsZero() })
}
