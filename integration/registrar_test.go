//go:build integration

package integration

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/berth-project/berth/integration/rig"
)

// registrar is a `berth agent --registrar-only` beside an engine and a Consul of the test's own.
type registrar struct {
	t      *testing.T
	engine *rig.Engine
	consul *rig.Consul
	host   string
	killable
}

// start runs it with Registrator's own way to write flags.
func (r *registrar) start(more ...string) {
	r.t.Helper()
	args := append([]string{"agent", "--registrar-only", "--docker-host", r.engine.Host(), "--hostname", r.host, "-tags", "fleet", "-resync", "1"}, more...)
	r.launch(r.t, append(args, "consul://"+r.consul.Address)...)
}

// ghosts are the differences between what runs and what clients find in Consul: services without a running container, or
// with another port than it has, and containers without theirs.
func (r *registrar) ghosts() ([]string, error) {
	out, err := r.engine.TryDocker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
	if err != nil {
		return nil, err
	}
	want := map[string]string{}
	for line := range strings.Lines(out) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		port, err := r.engine.TryDocker("port", id, "80/tcp")
		if err != nil {
			return nil, err
		}
		port = port[strings.LastIndexByte(port, ':')+1:]
		want["berth:"+r.host+":"+name+":80"] = id + ":" + port
	}
	services, _, err := r.consul.API.Catalog().Service("web", "fleet", nil)
	if err != nil {
		return nil, err
	}
	var bad []string
	for _, s := range services {
		got := s.ServiceMeta["berth-container"] + ":" + strconv.Itoa(s.ServicePort)
		if want[s.ServiceID] != got {
			bad = append(bad, fmt.Sprintf("%s is %s, want %q", s.ServiceID, got, want[s.ServiceID]))
		}
		delete(want, s.ServiceID)
	}
	for id := range want {
		bad = append(bad, id+" is missing")
	}
	return bad, nil
}

// settled waits until there is no difference, and that nothing of others was touched.
func (r *registrar) settled(after string, containers int) {
	r.t.Helper()
	began := time.Now()
	rig.Eventually(r.t, 40*time.Second, "no ghosts after "+after, func() error {
		bad, err := r.ghosts()
		if err == nil && len(bad) > 0 {
			err = errors.New(strings.Join(bad, "; "))
		}
		if err != nil {
			return err
		}
		list, _, err := r.consul.API.Catalog().Service("web", "fleet", nil)
		if err == nil && len(list) != containers {
			err = fmt.Errorf("%d services, want %d", len(list), containers)
		}
		return err
	})
	r.t.Logf("after %s: %d services, ghosts: 0 (%v)", after, containers, time.Since(began).Round(time.Millisecond))
}

// tinyImage is an image whose only program answers HTTP at port 80.
func tinyImage(t *testing.T, e *rig.Engine, name string) {
	t.Helper()
	dir := t.TempDir()
	const program = `package main
import "net/http"
func main() { panic(http.ListenAndServe(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("up\n")) }))) }
`
	for file, text := range map[string]string{"main.go": program, "go.mod": "module tiny\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", "serve", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tiny program: %v\n%s", err, out)
	}
	serve, err := os.ReadFile(filepath.Join(dir, "serve"))
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = errors.Join(w.WriteHeader(&tar.Header{Name: "serve", Mode: 0o755, Size: int64(len(serve))}), func() error { _, err := w.Write(serve); return err }(), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "image.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Docker("import", "--change", `CMD ["/serve"]`, "--change", "EXPOSE 80 81", file, name)
}

func (r *registrar) run(name string, more ...string) {
	r.t.Helper()
	args := append([]string{"run", "-d", "--name", name, "--restart", "always", "-p", "80", "-e", "SERVICE_NAME=web",
		"-e", "SERVICE_CHECK_HTTP=/", "-e", "SERVICE_CHECK_INTERVAL=1s", "--label", "SERVICE_TAGS=a,b"}, more...)
	r.engine.Docker(append(args, "tiny")...)
}

// TestRegistrarOnly puts `berth agent --registrar-only` in the place of gliderlabs/registrator, and then kills everything in turn.
func TestRegistrarOnly(t *testing.T) {
	requireReal(t, "docker", "consul")
	r := &registrar{t: t, engine: rig.StartEngine(t), consul: rig.StartConsulOnDisk(t), host: "h1", killable: killable{log: filepath.Join(t.TempDir(), "registrar.log")}}
	t.Cleanup(func() {
		r.kill9()
		if log, _ := os.ReadFile(r.log); t.Failed() {
			t.Logf("log of the registrar:\n%s", log)
		}
	})
	tinyImage(t, r.engine, "tiny")
	agent := r.consul.API.Agent()
	others := []*api.AgentServiceRegistration{
		{ID: "hand-made", Name: "web", Tags: []string{"other"}}, {ID: "h1:web-a:80", Name: "web", Tags: []string{"old"}}, {ID: "h1:gone:80", Name: "web", Tags: []string{"old"}},
	}
	for _, s := range others {
		if err := agent.ServiceRegister(s); err != nil {
			t.Fatal(err)
		}
	}
	r.run("web-a")
	r.run("web-b")
	r.run("web-c", "-e", "SERVICE_80_REGION=eu")
	r.start()
	r.settled("the start", 3)
	rig.Eventually(t, 20*time.Second, "Consul's own checks of them pass", func() error {
		entries, _, err := r.consul.API.Health().Service("web", "fleet", true, nil)
		if err == nil && len(entries) != 3 {
			err = fmt.Errorf("%d of 3 pass", len(entries))
		}
		return err
	})
	all, err := agent.Services()
	if err != nil {
		t.Fatal(err)
	}
	if s := all["berth:h1:web-c:80"]; s == nil || fmt.Sprint(s.Tags) != "[a b fleet]" || s.Meta["region"] != "eu" || s.Address != "127.0.0.1" {
		t.Errorf("service c: %+v", s)
	}
	for _, s := range others {
		if all[s.ID] == nil {
			t.Errorf("%s was removed", s.ID)
		}
	}

	r.engine.Docker("rename", "web-c", "web-d")
	r.settled("a container got another name", 3)

	r.kill9()
	r.engine.Docker("rm", "-f", "web-b")
	r.run("web-e")
	r.start()
	r.settled("kill -9 of the agent, while a container went and another came", 3)

	pid, err := strconv.Atoi(r.engine.Docker("inspect", "--format", "{{.State.Pid}}", "web-e"))
	if err != nil {
		t.Fatal(err)
	}
	r.engine.Kill9()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // it comes back with another port
		t.Fatal(err)
	}
	r.engine.Start()
	r.settled("kill -9 of Docker, while a container died", 3)
	r.engine.Docker("rm", "-f", "web-e")
	r.settled("a removal", 2)
	r.run("web-f")
	r.settled("a start", 3)

	r.consul.Kill9()
	r.engine.Docker("rm", "-f", "web-f")
	r.consul.Start()
	r.settled("kill -9 of Consul, while a container went", 2)

	r.consul.Kill9()
	r.consul.Wipe()
	r.consul.Start()
	r.settled("Consul's data were wiped", 2)
	for _, s := range others {
		if err := agent.ServiceRegister(s); err != nil {
			t.Fatal(err)
		}
	}

	r.kill9()
	r.consul.Kill9()
	r.engine.Reboot()
	r.consul.Start()
	r.start()
	r.settled("the host was started again", 2)

	r.kill9()
	r.host = "h2"
	r.start()
	r.settled("the host got another name", 2)

	r.kill9()
	r.host = "h1"
	r.start("-cleanup")
	r.settled("a start with -cleanup", 2)
	rig.Eventually(t, 10*time.Second, "what Registrator left of this host is gone, and what others have is not", func() error {
		all, err := agent.Services()
		if err == nil && (all["h1:web-a:80"] != nil || all["h1:gone:80"] != nil || all["hand-made"] == nil) {
			err = fmt.Errorf("there are %d services: %v", len(all), all)
		}
		return err
	})
}
