package api

import (
	"testing"
	"time"
)

func TestScraped(t *testing.T) {
	for _, c := range []struct{ listens, want string }{
		{":9109", "h1:9109"}, {"0.0.0.0:9109", "h1:9109"}, {"[::]:9109", "h1:9109"}, {"10.0.0.11:9109", "10.0.0.11:9109"},
		{"[fd00::1]:9109", "[fd00::1]:9109"}, {"metrics.example.com:80", "metrics.example.com:80"}, {"", ""}, {"nonsense", ""}, {"h1:", ""},
	} {
		if got := scraped("h1", c.listens); got != c.want {
			t.Errorf("%q: %q, want %q", c.listens, got, c.want)
		}
	}
}

// TestTargetGroups is in the form of Prometheus's HTTP service discovery.
func TestTargetGroups(t *testing.T) {
	for want, hosts := range map[string][]HostView{
		`[]`: {{Name: "without"}},
		`[{"targets":["silent:9109"],"labels":{"__meta_berth_cluster":"c","__meta_berth_host":"silent"}},` +
			`{"targets":["10.0.0.2:80"],"labels":{"__meta_berth_cluster":"c","__meta_berth_host":"h2"}}]`: {
			{Name: "silent", Metrics: ":9109"}, {Name: "dead", Metrics: ":9109", Dead: time.Unix(1e9, 0)}, {Name: "h2", Metrics: "10.0.0.2:80", Reported: true},
		},
	} {
		if got, err := encode(targetGroups(hosts, "c")); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
