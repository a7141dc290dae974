//go:build integration && slow

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/lab"
	"github.com/berth-project/berth/integration/rig"
)

const (
	balancerRate = 300
	balancerPort = "8088"
)

// TestLoadBalancer: an nginx whose upstreams come from Consul through consul-template, by the files of examples/load-balancer as they are, gets
// 300 requests a second while the app behind it is updated, scaled down and driven from a host. nginx tries no request twice, and none fails.
func TestLoadBalancer(t *testing.T) {
	requireReal(t, "consul", "nginx")
	template, said, err := rig.ConsulTemplate(t.Context())
	if err != nil {
		requireMissing(t, "consul-template cannot be built: "+err.Error()+": "+said)
	}
	const consulAddress = "192.0.2.5:8500" // beside the lab's scheduler
	r := newRack(t, func(o *lab.Options) { o.AgentFlags = []string{"--consul", consulAddress} })
	rig.StartConsulIn(t, string(r.Fabric()), consulAddress, r.Fabric().Dial)

	app := example(t, "web.json")
	app["id"], app["instances"] = r.berth.AppID("web"), 6
	r.berth.Create(app)
	r.berth.Settle(3 * time.Minute)
	startBalancer(t, r, template, consulAddress)

	load := startTraffic(t.Context(), r.Office(), balancerRate, "http://127.0.0.1:"+balancerPort+"/healthz")
	defer load.end()
	id := r.berth.AppID("web")
	phase := func(name string, do func()) {
		load.during(name)
		before, began := load.count(), time.Now()
		do()
		settled := time.Since(began)
		after := load.count()
		rig.Eventually(t, time.Minute, "two seconds of traffic more, as what comes after a deployment belongs to it", func() error {
			if n := load.count() - after; n < 2*balancerRate {
				return fmt.Errorf("%d requests", n)
			}
			return nil
		})
		t.Logf("%s: %s, %d requests", name, settled.Round(100*time.Millisecond), load.count()-before)
	}
	phase("nothing", func() {})
	phase("rolling update", func() {
		r.berth.Update(id, map[string]any{"env": map[string]string{"RELEASE": "2"}})
		r.berth.Settle(5 * time.Minute)
	})
	phase("scaling down", func() {
		r.berth.Update(id, map[string]any{"instances": 4})
		r.berth.Settle(3 * time.Minute)
	})
	before := map[string]bool{}
	host := ""
	for _, task := range r.tasks("web") {
		before[task.Address()], host = true, task.Host
	}
	phase("host drain", func() {
		t.Logf("%s", r.berth.CLI("host", "drain", host, "--wait", "--timeout", "4m", "--reason", "new disks"))
		r.berth.Settle(2 * time.Minute)
	})
	for _, task := range r.tasks("web") {
		if task.Host == host || !before[task.Address()] {
			t.Errorf("after the drain of %s, %s is on %s with address %s, before there were %v", host, task.ID, task.Host, task.Address(), before)
		}
	}
	load.end()
	t.Logf("%s", load)
	if len(load.failed) > 0 {
		t.Errorf("%d requests failed", len(load.failed))
	}
}

// example is a definition of examples/load-balancer.
func example(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../examples/load-balancer", name))
	if err != nil {
		t.Fatal(err)
	}
	var app map[string]any
	if err := json.Unmarshal(text, &app); err != nil {
		t.Fatal(err)
	}
	return app
}

// startBalancer runs nginx in the office and consul-template beside Consul, with the example's files, of which only paths and addresses are
// others here. It returns when nginx answers.
func startBalancer(t *testing.T, r *rack, template, consulAddress string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("conf.d/none.conf", "")
	write("nginx.conf", fmt.Sprintf(`daemon off; user root; worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/error.log warn;
events { worker_connections 4096; }
http { access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
include %[1]s/conf.d/*.conf; }
`, dir))
	config, err := os.ReadFile("../examples/load-balancer/consul-template.hcl")
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("../examples/load-balancer/berth.conf.ctmpl")
	if err != nil {
		t.Fatal(err)
	}
	text, nginx := string(config), "nginx -c "+dir+"/nginx.conf -e "+dir+"/error.log"
	for _, change := range [][2]string{
		{`"127.0.0.1:8500"`, `"` + consulAddress + `"`}, {"/etc/consul-template/berth.conf.ctmpl", source},
		{"/etc/nginx/conf.d/berth.conf", dir + "/conf.d/berth.conf"}, {"nginx -t", nginx + " -t"}, {"&& nginx -s", "&& " + nginx + " -s"},
	} {
		if strings.Count(text, change[0]) == 0 {
			t.Fatalf("consul-template.hcl no longer has %s", change[0])
		}
		i := strings.LastIndex(text, change[0]) // the first one may be in a comment
		text = text[:i] + change[1] + text[i+len(change[0]):]
	}
	write("berth.hcl", text)
	background(t, dir+"/nginx.log", r.Office(), nil, "nginx", "-c", dir+"/nginx.conf", "-e", dir+"/error.log")
	rig.Eventually(t, 20*time.Second, "nginx runs", func() error { _, err := os.Stat(dir + "/nginx.pid"); return err })
	background(t, dir+"/consul-template.log", r.Fabric(), []string{"SERVICE=web", "LISTEN=" + balancerPort}, template, "-config", dir+"/berth.hcl")
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"error.log", "nginx.log", "consul-template.log", "conf.d/berth.conf"} {
				out, _ := exec.Command("tail", "-n", "40", filepath.Join(dir, name)).Output()
				t.Logf("%s:\n%s", name, out)
			}
		}
	})
	rig.Eventually(t, 60*time.Second, "nginx answers for the app", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := r.Office().Run(ctx, "curl", "-fsS", "-m", "3", "http://127.0.0.1:"+balancerPort+"/healthz")
		return err
	})
}

// background runs a program in a place until the test ends.
func background(t *testing.T, log string, in lab.Space, env []string, name string, args ...string) {
	t.Helper()
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := in.Command(context.WithoutCancel(t.Context()), name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = file, file, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // consul-template does not end at TERM
		_ = cmd.Wait()
		file.Close()
	})
}
