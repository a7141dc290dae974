package svc

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAdoptLate: the end of a child is told also if it came between the look at it and the wish to be told.
func TestAdoptLate(t *testing.T) {
	f := newFamily("")
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 7"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.buryOne(pid)
	f.mu.Unlock()
	select {
	case status := <-f.adopt(pid):
		if status.ExitStatus() != 7 {
			t.Errorf("status %v", status)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody told")
	}
	if ch := f.adopt(os.Getpid()); len(ch) != 0 {
		t.Error("one that lives has ended")
	}
}

// TestPipeOf: a line of ours is not written into a file that somebody has chosen.
func TestPipeOf(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		out  *os.File
		want bool
	}{{w, true}, {file, false}} {
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{Files: []*os.File{nil, c.out, nil}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := pipeOf(p.Pid)
		if (err == nil) != c.want {
			t.Errorf("%v: %v", c.out.Name(), err)
		}
		_ = f.Close()
		_ = p.Kill()
		_, _ = p.Wait()
	}
}
