//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestPrometheus: a real Prometheus with what `berth monitor assets` writes finds the host by the scheduler's word, can evaluate every
// alert rule and every panel of the dashboards, and an update adds one series an instance.
func TestPrometheus(t *testing.T) {
	requireReal(t, "docker", "prometheus", webImage)
	address, listen := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	token := filepath.Join(t.TempDir(), "discovery-token")
	if err := os.WriteFile(token, []byte("of-prometheus\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := rig.New(t, rig.Options{Binary: binary, Flags: append(roomy(), "--monitor-interval", "1s", "--metrics-listen", address,
		"--listen", listen, "--discovery-token-file", token)})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/healthz"), rig.With("cpus", 0.5), rig.With("mem", 128)))
	b.Running(app, 2, 30*time.Second)
	assets := filepath.Join(b.Dir, "assets")
	b.CLI("monitor", "assets", assets)
	p := startPrometheus(t, assets, listen, token)

	selector := fmt.Sprintf(`app="%s"`, app)
	p.eventually("both instances are healthy", "sum(berth_instance_health{"+selector+"}) == 2")
	// A rate needs two values.
	p.eventually("they have used CPU time", "min(rate(berth_container_cpu_usage_seconds_total{"+selector+"}[1m])) >= 0")
	variables := strings.NewReplacer("$__rate_interval", "1m", "$app", app, "$seat", ".*", "$host", ".*")
	for _, name := range []string{"berth-hosts.json", "berth-apps.json", "berth-instances.json"} {
		panels, empty := dashboard(t, filepath.Join(assets, name)), 0
		for _, expr := range panels {
			if answers, err := p.query(variables.Replace(expr)); err != nil {
				t.Errorf("%s: %s: %v", name, expr, err)
			} else if len(answers) == 0 {
				t.Logf("%s shows nothing just now: %s", name, expr)
				empty++
			}
		}
		// Nothing is throttled, killed, advised or drained, so some panels are rightly empty.
		if len(panels) == 0 || empty > len(panels)/3 {
			t.Errorf("%s: %d of %d panels show nothing", name, empty, len(panels))
		}
	}
	p.rulesAreHealthy()

	const series = `count({__name__=~"berth_(instance|container|service).*",%s})`
	before := p.number(fmt.Sprintf(series, selector))
	b.Update(app, map[string]any{"env": map[string]string{"COLOUR": "blue"}})
	b.Settle(60 * time.Second)
	p.eventually("the new version's instances are measured", fmt.Sprintf(
		`count(berth_instance_info{%[1]s}) == 2 and count(count by (version) (berth_instance_info{%[1]s})) == 1 and sum(berth_instance_health{%[1]s}) == 2`, selector))
	if now := p.number(fmt.Sprintf(series, selector)); now != before {
		t.Errorf("%v series before the update, %v after it", before, now)
	}
	if seats := p.number("count(count by (app, seat) (last_over_time(berth_container_memory_rss_bytes{" + selector + "}[10m])))"); seats > 3 {
		t.Errorf("an update made series of %v seats; there are two, and its helper", seats)
	}
}

// prometheus is a real one, with a database of its own.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus runs one with the rules and the settings that are in a folder, but that it asks each second, and the scheduler at an
// address what there is to be asked.
func startPrometheus(t *testing.T, assets, scheduler, token string) *prometheus {
	t.Helper()
	settings, err := os.ReadFile(filepath.Join(assets, "prometheus-scrape.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("10.0.0.10:8080", scheduler, "/etc/prometheus/berth-token", token, "scrape_interval: 15s", "scrape_interval: 1s",
		"refresh_interval: 1m", "refresh_interval: 1s").Replace(string(settings)) + "global: {evaluation_interval: 1s}\n"
	config := filepath.Join(assets, "prometheus.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(assets, "prometheus.log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t: t, url: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))}
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(assets, "data"), "--web.listen-address="+p.url)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if said, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("Prometheus said:\n%s", said)
		}
		log.Close()
	})
	rig.Eventually(t, 30*time.Second, "Prometheus scrapes", func() error {
		up, err := p.query("up == 1")
		if err == nil && len(up) == 0 {
			err = errors.New("not up yet")
		}
		return err
	})
	return p
}

// get asks Prometheus's API.
func (p *prometheus) get(path string, out any) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("%w: %.200s", err, b)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, out)
}

// vector is one series of an answer: time and value.
type vector struct {
	Metric map[string]string
	Value  [2]any
}

func (p *prometheus) query(expr string) ([]vector, error) {
	var out struct{ Result []vector }
	err := p.get("/api/v1/query?query="+url.QueryEscape(expr), &out)
	return out.Result, err
}

// number is the value of an expression that has one.
func (p *prometheus) number(expr string) float64 {
	p.t.Helper()
	all, err := p.query(expr)
	if err != nil || len(all) != 1 {
		p.t.Fatalf("%s: %v, %v", expr, all, err)
	}
	n, err := strconv.ParseFloat(fmt.Sprint(all[0].Value[1]), 64)
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	return n
}

// eventually waits until an expression has a result.
func (p *prometheus) eventually(what, expr string) {
	p.t.Helper()
	rig.Eventually(p.t, 60*time.Second, what, func() error {
		all, err := p.query(expr)
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("no result: %s", expr)
		}
		return err
	})
}

// rulesAreHealthy says which of the rules could not be evaluated.
func (p *prometheus) rulesAreHealthy() {
	p.t.Helper()
	type rule struct{ Name, Health, LastError string }
	rig.Eventually(p.t, 30*time.Second, "every rule was evaluated", func() error {
		var out struct{ Groups []struct{ Rules []rule } }
		if err := p.get("/api/v1/rules", &out); err != nil {
			return err
		}
		n := 0
		for _, g := range out.Groups {
			for _, r := range g.Rules {
				if n++; r.Health != "ok" {
					return fmt.Errorf("%+v", r)
				}
			}
		}
		if n == 0 {
			return errors.New("there are no rules")
		}
		return nil
	})
}

// dashboard has the expressions of all panels of a Grafana dashboard.
func dashboard(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}
