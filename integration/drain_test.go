//go:build integration

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/scheduler/api"
)

// atTerm notes in the task's sandbox when the program is there, and when it gets TERM.
const atTerm = `at() { echo $MESOS_TASK_ID $(date +%s%N) > $MESOS_SANDBOX/$1; }; trap 'at term; exit 0' TERM; at up; while :; do sleep 0.05; done`

// noted are the times by task at which the programs noted something ("up", "term").
func noted(t *testing.T, b *rig.Berth, what string) map[string]time.Time {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.Dir, "state", "*", "*", what))
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]time.Time{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(text))
		if len(f) != 2 {
			continue // it is being written
		}
		ns, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at[f[0]] = time.Unix(0, ns)
	}
	return at
}

// records are what is remembered of an app's deployments.
func records(t *testing.T, b *rig.Berth, app string) (stops []api.Stop) {
	t.Helper()
	code, text := b.Do("GET", "/berth/v1/deployments?app="+app, nil)
	var got struct {
		Deployments []struct{ Stops []api.Stop }
		Stops       []api.Stop
	}
	if err := json.Unmarshal([]byte(text), &got); code != 200 || err != nil {
		t.Fatalf("%d, %v: %s", code, err, text)
	}
	for _, d := range got.Deployments {
		stops = append(stops, d.Stops...)
	}
	return append(stops, got.Stops...)
}

// stopInOrder stops instances and says how many were out of the catalog, as a watcher saw it, before their program got TERM.
func stopInOrder(t *testing.T, instances, rounds int) (ordered, all int) {
	requireReal(t, "docker", "consul", baseImage)
	consul := rig.StartConsul(t)
	b := rig.New(t, rig.Options{Binary: binary, Consul: consul, Flags: roomy()})
	app := b.AppID("web")
	b.Create(b.App("web", baseImage, instances, rig.With("args", []string{"sh", "-c", atTerm}), rig.With("labels", map[string]string{"BERTH_SERVICE": "web"}),
		listening(8080), rig.With("cpus", 0.1), rig.With("mem", 32)))
	seen := map[string]time.Time{} // task -> when a watcher saw it gone
	was := map[string]bool{}
	watcher := follow(t, consul, "web")
	watch := func(n int, what string) {
		t.Helper()
		for deadline := time.After(90 * time.Second); len(was) != n; {
			select {
			case now := <-watcher.seen:
				for task := range was {
					if !now.tasks[task] {
						seen[task] = now.at
					}
				}
				was = now.tasks
			case <-deadline:
				t.Fatalf("%s: %d of %d in Consul", what, len(was), n)
			}
		}
	}
	terms := map[string]time.Time{} // task -> when its program got TERM; sandboxes do not stay for long
	for range rounds {
		watch(instances, "started")
		b.Settle(60 * time.Second)
		rig.Eventually(t, 60*time.Second, "all programs have begun", func() error {
			up := noted(t, b, "up")
			for task := range was {
				if up[task].IsZero() {
					return errNotYet
				}
			}
			return nil
		})
		b.CLI("scale", app, "0")
		watch(0, "stopped")
		b.Settle(60 * time.Second)
		maps.Copy(terms, noted(t, b, "term"))
		b.CLI("scale", app, strconv.Itoa(instances))
	}
	for task, term := range terms {
		out, ok := seen[task]
		if ok {
			all++
		}
		if ok && out.Before(term) {
			ordered++
		} else if ok {
			t.Errorf("%s: TERM came %v before a watcher saw it out of Consul", task, out.Sub(term))
		}
	}
	for _, x := range records(t, b, app) {
		if terms[x.Task].IsZero() || seen[x.Task].IsZero() {
			t.Errorf("%s: TERM %v, out of Consul as a watcher saw it %v", x.Task, terms[x.Task], seen[x.Task])
		}
		if x.Out.IsZero() || x.Kill.Before(x.Out) || x.Note != "" || x.Ended.IsZero() {
			t.Errorf("the record of %s: %+v", x.Task, x)
		}
	}
	return ordered, all
}

// TestOutOfTheCatalogBeforeTERM: with one clock for the watcher of the catalog and the program.
func TestOutOfTheCatalogBeforeTERM(t *testing.T) {
	if ordered, all := stopInOrder(t, 5, 2); ordered != all || all != 10 {
		t.Errorf("%d of %d stops in order, want 10", ordered, all)
	}
}

// listening gives an app one port.
func listening(port int) func(app map[string]any) {
	return func(app map[string]any) {
		app["container"].(map[string]any)["portMappings"] = []any{map[string]any{"containerPort": port}}
	}
}

// slowClient is a connection to a seat's sshd that stays until it is closed.
func slowClient(t *testing.T, address string) net.Conn {
	t.Helper()
	var c net.Conn
	rig.Eventually(t, 20*time.Second, "sshd answers", func() (err error) {
		if c, err = net.DialTimeout("tcp", address, time.Second); err == nil {
			_, err = bufio.NewReader(c).ReadString('\n')
		}
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestAStopWaitsForClients: until they have left, or the time is over; and not for a Consul that is dead.
func TestAStopWaitsForClients(t *testing.T) {
	requireReal(t, "docker", "consul", baseImage)
	consul := rig.StartConsul(t)
	b := rig.New(t, rig.Options{Binary: binary, Consul: consul})
	// The service is sshd, which keeps a silent connection for two minutes.
	start := func(name, seconds string) (string, rig.Container) {
		b.Create(b.App(name, baseImage, 1, rig.With("args", []string{"sh", "-c", atTerm}), rig.With("labels", map[string]string{"BERTH_DRAIN_SECONDS": seconds}),
			listening(22)))
		app := b.AppID(name)
		c := b.Running(app, 1, 30*time.Second)[0]
		b.Settle(30 * time.Second)
		return app, c
	}
	stopped := func(app string) api.Stop {
		t.Helper()
		var last api.Stop
		rig.Eventually(t, 60*time.Second, "it has stopped", func() error {
			all := records(t, b, app)
			if len(all) == 0 || all[len(all)-1].Ended.IsZero() {
				return errNotYet
			}
			last = all[len(all)-1]
			return nil
		})
		return last
	}
	t.Run("they leave", func(t *testing.T) {
		app, c := start("leave", "60")
		conn := slowClient(t, c.Address+":22")
		b.CLI("scale", app, "0")
		time.Sleep(3 * time.Second)
		left := time.Now()
		_ = conn.Close()
		x := stopped(app)
		if x.Over.Before(left) || x.Over.Sub(left) > 5*time.Second || x.Open < 1 || x.Left != 0 || x.Kill.Before(x.Over) {
			t.Errorf("the client left at %v: %+v", left, x)
		}
		t.Logf("the last client left, and %v later the stop went on", x.Over.Sub(left))
	})
	t.Run("they stay", func(t *testing.T) {
		app, c := start("stay", "3")
		slowClient(t, c.Address+":22")
		b.CLI("scale", app, "0")
		x := stopped(app)
		if waited := x.Over.Sub(x.Out); waited < 3*time.Second || waited > 6*time.Second || x.Left < 1 {
			t.Errorf("waited %v: %+v", waited, x)
		}
		if term, ok := noted(t, b, "term")[x.Task]; !ok || term.Before(x.Over) {
			t.Errorf("TERM at %v, waited until %v", term, x.Over)
		}
	})
	t.Run("docker stop by hand", func(t *testing.T) {
		_, c := start("hand", "60")
		conn := slowClient(t, c.Address+":22")
		seen := follow(t, consul, strings.TrimPrefix(b.Pool, "/")+"-hand")
		began := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			_ = conn.Close()
		}()
		b.Engine.Docker("stop", c.ID)
		took := time.Since(began)
		out := seen.gone(t, c.Task, 10*time.Second)
		term, ok := noted(t, b, "term")[c.Task]
		if !ok || term.Before(out) || took < 3*time.Second || took > 9*time.Second {
			t.Errorf("out of Consul after %v, TERM after %v, over after %v", out.Sub(began), term.Sub(began), took)
		}
		t.Logf("out of Consul %v after docker stop began, the program got TERM after %v", out.Sub(began), term.Sub(began))
	})
	t.Run("death", func(t *testing.T) {
		_, c := start("death", "60")
		seen := follow(t, consul, strings.TrimPrefix(b.Pool, "/")+"-death")
		events := b.Engine.Events()
		b.Engine.Docker("kill", c.ID)
		out := seen.gone(t, c.Task, 10*time.Second)
		if late := out.Sub(engineEvent(t, events, c.ID, "die")); late > time.Second {
			t.Errorf("out of Consul %v after its death", late)
		} else {
			t.Logf("out of Consul %v after its death", late)
		}
	})
	t.Run("Consul is dead", func(t *testing.T) {
		app, _ := start("last", "2")
		consul.Kill9()
		b.CLI("scale", app, "0")
		x := stopped(app)
		if waited := x.Kill.Sub(x.Wanted); waited > 9500*time.Millisecond || x.Note == "" {
			t.Errorf("the KILL came %v after the decision: %+v", waited, x)
		}
		t.Log(fmt.Sprint(x.Note, ", ", x.Kill.Sub(x.Wanted)))
	})
}
