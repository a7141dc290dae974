//go:build integration

package svc

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
)

// ask connects and reads the answer.
func (r *rig) ask(path string) string {
	r.Helper()
	c, err := net.Dial("unix", path)
	r.must(err)
	defer c.Close()
	r.must(c.SetDeadline(time.Now().Add(5 * time.Second)))
	answer, err := io.ReadAll(c)
	r.must(err)
	return string(answer)
}

// TestSocket: a socket's service is started with it, is given what listens, comes back however it ends, and is there no more when both are stopped.
func TestSocket(t *testing.T) {
	for name, kind := range map[string]string{"simple": "Type=simple", "with a process of ours": "ExecStartPost=/bin/true"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.unit("x.socket", "[Socket]\nListenStream=ROOT/x/sock\nListenDatagram=@ROOT/second\nSocketMode=0600\nSymlinks=ROOT/x/link\nFileDescriptorName=mine\n")
			r.service("x.service", "Restart=no", kind, "ExecStart=D socket sleep")
			r.start("x.socket")
			if state := r.is("x.service", manager.IsActive, "running"); state.MainPID == 0 {
				t.Fatalf("no main process: %+v", state)
			}
			r.is("x.socket", manager.IsActive, "running")
			if got := r.ask(r.root + "/x/link"); got != "true 2 mine:mine" {
				t.Errorf("it was told %q", got)
			}
			if info, err := os.Stat(r.root + "/x/sock"); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket: %v, %v", info.Mode(), err)
			}
			first := r.is("x.service", manager.IsActive, "running").MainPID
			for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
				r.must(unix.Kill(first, signal))
				first = r.becomes("x.service", func(s manager.State) bool {
					return s.Active == manager.IsActive && s.MainPID != 0 && s.MainPID != first
				}).MainPID
				if got := r.ask(r.root + "/x/sock"); got != "true 2 mine:mine" {
					t.Errorf("after signal %d it was told %q", signal, got)
				}
			}
			r.stop("x.service")
			r.is("x.service", manager.Inactive, "dead")
			r.is("x.socket", manager.IsActive, "listening")
			r.stop("x.socket")
			r.is("x.socket", manager.Inactive, "dead")
		})
	}
}

// TestSocketThatIsRequired: whoever requires a socket, or comes after it, finds its service up; and what a container cannot have keeps nobody down.
func TestSocketThatIsRequired(t *testing.T) {
	r := newRig(t)
	r.unit("bus.socket", "[Socket]\nListenStream=ROOT/bus\n")
	r.unit("bus.service", "[Unit]\nRequires=bus.socket\n[Service]\nType=notify\nExecStart=D socket notify=READY sleep\n")
	r.unit("each.socket", "[Socket]\nListenStream=ROOT/each\nAccept=yes\n")
	r.unit("client.service", "[Unit]\nRequires=bus.socket each.socket\nAfter=bus.socket each.socket\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"+
		"ExecStart=/bin/sh -c \"test -S ROOT/bus\"\n")
	r.must(r.s.Start(r.ctx(), "bus.socket", "client.service"))
	r.is("client.service", manager.IsActive, "exited")
	r.is("bus.service", manager.IsActive, "running")
	r.is("each.socket", manager.Inactive, "dead")
	if got := result(r.s.Start(r.ctx(), "each.socket")); got != "not-supported" {
		t.Errorf("start of a socket with Accept=yes: %s", got)
	}
	// As at boot, where everything is asked for.
	r.stop("client.service", "bus.service")
	order := r.s.bootable([]string{"bus.socket", "each.socket", "client.service"})
	_ = r.s.startAll(r.ctx(), order, order)
	r.is("client.service", manager.IsActive, "exited")
	// There is no port 0 to listen on.
	r.unit("net.socket", "[Socket]\nListenStream=127.0.0.1:0\n")
	if got := result(r.s.Start(r.ctx(), "net.socket")); got != "bad-setting" {
		t.Errorf("port 0: %s", got)
	}
}
