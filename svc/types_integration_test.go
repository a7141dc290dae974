//go:build integration

package svc

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestTypes: a service of each type is started, killed with -9, is back as another process, restarted and stopped, and none is left.
func TestTypes(t *testing.T) {
	for name, lines := range map[string][]string{
		"simple":      {"ExecStart=D log=hello sleep", "Restart=on-failure"},
		"exec":        {"Type=exec", "ExecStart=D log=hello child sleep", "Restart=always", "TimeoutStopSec=1"},
		"post":        {"ExecStart=D log=hello sleep", "ExecStartPost=D file=ROOT/post", "Restart=on-failure"},
		"notify":      {"Type=notify", "ExecStart=D log=hello notify=READY sleep", "Restart=on-failure"},
		"forking":     {"Type=forking", "ExecStart=D fork log=hello sleep", "Restart=on-failure"},
		"pid file":    {"Type=forking", "PIDFile=ROOT/run/x.pid", "ExecStart=D fork late pid=ROOT/run/x.pid log=hello child sleep", "Restart=on-failure", "TimeoutStopSec=1"},
		"no Restart=": {"ExecStart=D log=hello sleep"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.service("x.service", lines...)
			r.start("x.service")
			first := r.is("x.service", manager.IsActive, "running")
			if first.MainPID == 0 || len(first.Processes) == 0 {
				t.Fatalf("no main process: %+v", first)
			}
			r.must(unix.Kill(first.MainPID, unix.SIGKILL))
			second := r.becomes("x.service", func(s manager.State) bool {
				return s.Active == manager.IsActive && s.MainPID != 0 && s.MainPID != first.MainPID
			})
			if second.Restarts != 1 {
				t.Errorf("%d restarts counted, want 1", second.Restarts)
			}
			r.must(r.s.Restart(r.ctx(), "x.service"))
			third := r.is("x.service", manager.IsActive, "running")
			if third.MainPID == second.MainPID || third.Restarts != 0 {
				t.Errorf("after restart: %+v", third)
			}
			r.stop("x.service")
			r.is("x.service", manager.Inactive, "dead")
			if !strings.Contains(r.logOf("x.service"), " hello") {
				t.Errorf("log: %s", r.logOf("x.service"))
			}
		})
	}
}
