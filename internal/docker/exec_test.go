package docker

import (
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Only what is in the container's control group is killed, and with its children.
func TestKillInside(t *testing.T) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	first, _, _ := strings.Cut(string(groups), "\n")
	own := path.Base(first[strings.LastIndex(first, ":")+1:]) // this process's group stands for a container's
	child := exec.Command("sh", "-c", "sleep 600 & wait")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for _, container := range []string{"", "0123456789abcdef"} {
		if err := killInside(child.Process.Pid, container); err == nil {
			t.Errorf("killed as one of container %q", container)
		}
	}
	if err := child.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	if err := killInside(child.Process.Pid, own); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("ended with %v", err)
	}
}
