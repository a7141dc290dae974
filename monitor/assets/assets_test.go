package assets

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/monitor/series"
)

// expressions collects the PromQL of a dashboard or a file of rules.
func expressions(v any, key string, into *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			expressions(below, k, into)
		}
	case []any:
		for _, below := range v {
			expressions(below, key, into)
		}
	case string:
		if key == "expr" || key == "query" || key == "definition" {
			*into = append(*into, v)
		}
	}
}

func read(t *testing.T, name string) []string {
	t.Helper()
	b, err := fs.ReadFile(Files(), name)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if strings.HasSuffix(name, ".json") {
		err = json.Unmarshal(b, &v)
	} else {
		err = yaml.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var all []string
	expressions(v, "", &all)
	return all
}

// TestEveryMetricExists: what dashboards and rules ask for is told, under these names and with these labels.
func TestEveryMetricExists(t *testing.T) {
	labels := map[string]map[string]bool{}
	for _, f := range series.Families() {
		labels[f.Name] = map[string]bool{"host": true, "instance": true, "job": true}
		if f.Of == series.OfInstance {
			labels[f.Name]["app"], labels[f.Name]["seat"] = true, true
		}
		for _, l := range f.Labels {
			labels[f.Name][l] = true
		}
	}
	metric := regexp.MustCompile(`berth_[a-z0-9_]+`)
	selector := regexp.MustCompile(`(berth_[a-z0-9_]+)\{([^}]*)\}`)
	label := regexp.MustCompile(`([a-z_]+)\s*=`)
	used := map[string]bool{}
	names, err := fs.Glob(Files(), "berth-*")
	if err != nil || len(names) != 4 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range names {
		all := read(t, name)
		if len(all) < 10 {
			t.Errorf("%s has %d expressions", name, len(all))
		}
		for _, expr := range all {
			for _, m := range metric.FindAllString(expr, -1) {
				if used[m] = true; labels[m] == nil {
					t.Errorf("%s: %s: nothing is called %s", name, expr, m)
				}
			}
			for _, s := range selector.FindAllStringSubmatch(expr, -1) {
				for _, l := range label.FindAllStringSubmatch(s[2], -1) {
					if !labels[s[1]][l[1]] {
						t.Errorf("%s: %s: %s has no label %s", name, expr, s[1], l[1])
					}
				}
			}
		}
	}
	if len(used) < len(labels)*3/4 {
		t.Errorf("only %d of %d metrics are shown anywhere", len(used), len(labels))
	}
}

// TestPromtool has Prometheus itself check the rules, and every expression of the dashboards as one.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed (Debian package prometheus)")
	}
	dir := filepath.Join(t.TempDir(), "made")
	written, err := Write(dir)
	if err != nil || len(written) != 5 {
		t.Fatalf("%q, %v", written, err)
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	variables := strings.NewReplacer("$__rate_interval", "1m", "$app", "/web", "$seat", "0", "$host", "h1")
	for _, name := range []string{"berth-hosts.json", "berth-apps.json", "berth-instances.json"} {
		for _, expr := range read(t, name) {
			if strings.Contains(expr, "berth_") && !strings.HasPrefix(expr, "label_values(") {
				rules = append(rules, rule{Record: "shown:" + strings.ReplaceAll(strings.TrimSuffix(name, ".json"), "-", "_"), Expr: variables.Replace(expr)})
			}
		}
	}
	for n := range rules {
		rules[n].Record += ":" + strings.Repeat("x", n+1) // names must differ
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboards", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	dashboards := filepath.Join(dir, "dashboards.yaml")
	if err := os.WriteFile(dashboards, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", filepath.Join(dir, "berth-alerts.yaml"), dashboards}, {"check", "config", "--syntax-only", filepath.Join(dir, "prometheus-scrape.yaml")},
	} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
}
