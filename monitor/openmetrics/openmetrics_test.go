package openmetrics

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/berth-project/berth/monitor/figures"
)

func many(n int) *figures.Snapshot {
	s := &figures.Snapshot{At: time.Unix(1_700_000_000, 5e8), Version: "1.2.3", Host: figures.Host{Name: "h1", Cores: 2}}
	for i := range n {
		s.Instances = append(s.Instances, figures.Instance{
			App: fmt.Sprintf("/prod/web-%d", i/10), Seat: i % 10, Task: fmt.Sprintf("t%d", i), Address: "10.0.0.1", State: figures.Running, Health: figures.Healthy,
			Started: time.Unix(1_600_000_000, 0), Checks: []figures.Check{{Protocol: "HTTP", Health: figures.Unhealthy}},
			Figures: &figures.Figures{
				CPU: figures.CPU{Seconds: 12.5, Quota: 0.5}, Memory: figures.Memory{Used: 1 << 30}, Sockets: figures.Sockets{TCP: 3},
				Networks: []figures.Interface{{Name: "eth0", RxBytes: 7}, {Name: "eth1", RxBytes: 8}},
				Services: []figures.Service{{Name: "cron", Up: true, Ready: true, Want: true, For: 3}, {Name: "sshd", Up: true, Ready: true, Want: true}},
			},
		})
	}
	return s
}

func scrape(t *testing.T, h http.Handler, accept string) (kind, text string, code int) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Header().Get("Content-Type"), w.Body.String(), w.Code
}

func TestFormats(t *testing.T) {
	s := many(2)
	s.Instances[1].App = "/with\"quotes\\and\xffbytes"
	h := Handler(func() *figures.Snapshot { return s })
	kind, text, code := scrape(t, h, "text/plain")
	if code != http.StatusOK || !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("%d %s", code, kind)
	}
	for _, line := range []string{
		"# HELP berth_container_cpu_usage_seconds_total CPU time used.", "# TYPE berth_container_cpu_usage_seconds_total counter",
		`berth_container_cpu_usage_seconds_total{app="/prod/web-0",host="h1",seat="0"} 12.5`,
		`berth_container_network_receive_bytes_total{app="/prod/web-0",host="h1",interface="eth1",seat="0"} 8`,
		`berth_instance_check_health{app="/prod/web-0",check="0",host="h1",protocol="HTTP",seat="0"} 0`,
		`berth_service_up{app="/with\"quotes\\and�bytes",host="h1",seat="1",service="sshd"} 1`,
		`berth_host_cpu_cores{host="h1"} 2`, `berth_agent_info{host="h1",version="1.2.3"} 1`,
		`berth_instance_start_time_seconds{app="/prod/web-0",host="h1",seat="0"} 1.6e+09`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "berth_container_memory_limit_bytes") {
		t.Error("a limit that is none is shown")
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(text)); err != nil {
		t.Error(err)
	}
	kind, text, _ = scrape(t, h, "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(text, "# EOF\n") ||
		!strings.Contains(text, "# UNIT berth_container_cpu_usage_seconds seconds\n") || !strings.Contains(text, "# TYPE berth_container_cpu_usage_seconds counter\n") {
		t.Errorf("%s\n%.2000s", kind, text)
	}
	if _, _, code := scrape(t, Handler(func() *figures.Snapshot { return &figures.Snapshot{} }), ""); code != http.StatusServiceUnavailable {
		t.Errorf("before the first sample: %d", code)
	}
}

// TestPromtool holds the exposition to Prometheus's own rules.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed (Debian package prometheus)")
	}
	_, text, _ := scrape(t, Handler(func() *figures.Snapshot { return many(1) }), "text/plain")
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, func() *figures.Snapshot { return many(3) }) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics") // the client asks for gzip by itself
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !resp.Uncompressed || !strings.Contains(string(b), "berth_host_cpu_cores") {
		t.Errorf("%v, uncompressed %v, %.100s", err, resp.Uncompressed, b)
	}
	resp, err = http.Post("http://"+l.Addr().String()+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkWrite300(b *testing.B) {
	s := many(300)
	for b.Loop() {
		if err := Write(io.Discard, expfmt.NewFormat(expfmt.TypeTextPlain), s); err != nil {
			b.Fatal(err)
		}
	}
}
