//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/berth-project/berth/integration/rig"
)

// The images of the tests; `make images` builds them.
const (
	baseImage = "berth/base:bookworm"
	webImage  = "berth/legacy-web:1"
	rpmImage  = "berth/rpm:bookworm"
)

var (
	binary  string // berth, built once for all tests
	skipped atomic.Int32
)

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "berth-it-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "berth")
	build := exec.Command("go", "build", "-o", binary, "../cmd/berth")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build berth:", err)
		return 1
	}
	code := m.Run()
	if n := skipped.Load(); n > 0 {
		fmt.Fprintf(os.Stderr, "\n*** %d integration tests were SKIPPED, as something real was missing (see above)\n\n", n)
	}
	return code
}

// requireReal skips the test loudly when one of the real things is not to be had: "docker", "consul", "bird", "nginx", "ansible", "prometheus", or an image. With
// BERTH_REQUIRE_REAL=1 that is a failure.
func requireReal(t *testing.T, things ...string) {
	t.Helper()
	for _, thing := range things {
		missing := ""
		switch thing {
		case "docker":
			if os.Getuid() != 0 {
				missing = "the tests must run as root"
			} else if _, err := rig.MachineEngine(t).TryDocker("version"); err != nil {
				missing = err.Error()
			}
		case "consul":
			if rig.ConsulBinary() == "" {
				missing = "no Consul server was built"
			}
		case "nginx":
			if _, err := exec.LookPath("nginx"); err != nil {
				missing = "no nginx is installed (scripts/install-deps slow)"
			}
		case "ansible":
			if _, err := exec.LookPath("ansible-playbook"); err != nil {
				missing = "no Ansible is installed (scripts/install-deps slow)"
			}
		case "prometheus":
			if _, err := exec.LookPath("prometheus"); err != nil {
				missing = "no Prometheus is installed (scripts/install-deps test)"
			}
		case "bird":
			if _, err := exec.LookPath("bird"); err != nil {
				missing = "no bird2 is installed (scripts/install-deps lab)"
			}
		default:
			if _, err := rig.MachineEngine(t).TryDocker("image", "inspect", "--format", "{{.Id}}", thing); err != nil {
				missing = "no image " + thing + ": run make images"
			}
		}
		if missing != "" {
			requireMissing(t, missing)
		}
	}
}

// killable is a berth that a test starts and kills.
type killable struct {
	log string // the file that gets what it says
	cmd *exec.Cmd
}

func (p *killable) launch(t *testing.T, args ...string) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (p *killable) kill9() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// requireMissing ends a test that lacks something real.
func requireMissing(t *testing.T, missing string) {
	t.Helper()
	if os.Getenv("BERTH_REQUIRE_REAL") == "1" {
		t.Fatalf("BERTH_REQUIRE_REAL=1, and %s", missing)
	}
	skipped.Add(1)
	t.Skipf("*** SKIPPED: %s", missing)
}

// roomy lets more instances run than the machine has processors for: the tests' instances mostly do nothing.
func roomy(more ...string) []string {
	return append([]string{"--offer-cpus", "16", "--offer-mem", "8192"}, more...)
}
