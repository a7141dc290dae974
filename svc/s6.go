package svc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A service's log: so many files of so many bytes beside the current one.
const (
	logFiles = 5
	logBytes = 500_000
)

// watchedBy says whether an s6-supervise watches a folder: it reads its control pipe.
func watchedBy(folder string) bool {
	fd, err := unix.Open(filepath.Join(folder, "supervise/control"), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// lockService keeps others from giving a service to s6, or taking it away.
func (s *Supervisor) lockService(name string) (unlock func(), err error) {
	return lock(filepath.Join(s.stateOf(name), "s6.lock"))
}

// launchService lets s6 start a service: for the first time by a new folder.
func (s *Supervisor) launchService(ctx context.Context, name string) error {
	unlock, err := s.lockService(name)
	if err != nil {
		return err
	}
	defer unlock()
	folder := s.serviceFolder(name)
	if watchedBy(folder) {
		// While the finish of its last life is at work, s6-supervise would take its "stay down" for an answer to our "up".
		if err := command(ctx, "s6-svwait", "-D", folder); err != nil {
			return err
		}
		return command(ctx, "s6-svc", "-u", folder)
	}
	if err := s.makeServiceFolder(name); err != nil {
		return fmt.Errorf("make the s6 service of %s: %w", name, err)
	}
	return command(ctx, "s6-svscanctl", "-a", s.path(scanFolder))
}

// makeServiceFolder makes a service's folder in one step, as s6-svscan may look at any time.
func (s *Supervisor) makeServiceFolder(name string) error {
	folder := s.serviceFolder(name)
	part := s.path(scanFolder, "."+name+".new")
	logs := s.path(logFolder, name)
	if err := errors.Join(os.RemoveAll(part), os.RemoveAll(folder), os.MkdirAll(filepath.Join(part, "log"), 0o755), os.MkdirAll(logs, 0o750)); err != nil {
		return err
	}
	logger := fmt.Sprintf("#!/bin/sh\nexec s6-log n%d s%d t '%s'\n", logFiles, logBytes, strings.ReplaceAll(logs, "'", `'\''`))
	return errors.Join(
		os.Symlink(s.self, filepath.Join(part, "run")),
		os.Symlink(s.self, filepath.Join(part, "finish")),
		// finish ends what is left, runs ExecStopPost and waits for RestartSec; its limits are the unit's.
		os.WriteFile(filepath.Join(part, "timeout-finish"), []byte("0\n"), 0o644),
		os.WriteFile(filepath.Join(part, "log/run"), []byte(logger), 0o755),
		os.Rename(part, folder),
	)
}

// retire takes a service that is down from s6, so that nothing of it stays in memory. Its logger ends when it has written all.
func (s *Supervisor) retire(ctx context.Context, name string) {
	folder := s.serviceFolder(name)
	if _, err := os.Lstat(folder); err != nil {
		return
	}
	old := s.path(scanFolder, "."+name+".old")
	_ = os.RemoveAll(old)
	if os.Rename(folder, old) != nil || command(ctx, "s6-svscanctl", "-an", s.path(scanFolder)) != nil {
		return
	}
	// Only when nobody works in it any more. A logger whose pipe a process still holds stays.
	for range 100 {
		if !watchedBy(old) && !watchedBy(filepath.Join(old, "log")) {
			_ = os.RemoveAll(old)
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// program makes a call of one of the image's own programs. Where they are does not depend on whoever called us: Ansible's service, for one, calls
// systemctl without any PATH.
func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	const env = "PATH=" + defaultPath
	path, err := (&launch{Path: name, Env: []string{env}}).find()
	if err != nil {
		path = name
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Env = []string{env}
	return c
}

// command runs one of s6's programs.
func command(ctx context.Context, name string, args ...string) error {
	out, err := program(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// logOf opens a unit's log for a line of ours: the pipe of the logger that runs for it, or one that is started for the purpose.
func (s *Supervisor) logOf(name string) (out *os.File, done func()) {
	if pid, ok := supervisorOf(name); ok {
		if f, err := pipeOf(pid); err == nil {
			return f, func() { _ = f.Close() }
		}
	}
	logs := s.path(logFolder, name)
	r, w, err := os.Pipe()
	if err != nil || os.MkdirAll(logs, 0o750) != nil {
		return os.NewFile(uintptr(syscall.Stderr), "stderr"), func() {}
	}
	logger := program(context.Background(), "s6-log", fmt.Sprintf("n%d", logFiles), fmt.Sprintf("s%d", logBytes), "t", logs)
	logger.Stdin = r
	err = logger.Start()
	_ = r.Close()
	return w, func() {
		_ = w.Close()
		if err == nil {
			_ = logger.Wait()
		}
	}
}

// pipeOf opens a process's standard output, if that is a pipe with a reader: any user can give a process the name of a supervisor, and a file as
// its output.
func pipeOf(pid int) (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", pid), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil, errors.Join(fmt.Errorf("the output of process %d is not a pipe", pid), err, f.Close())
	}
	return f, nil
}

// supervisorOf finds the s6-supervise of a service.
func supervisorOf(name string) (pid int, ok bool) {
	want := "s6-supervise\x00" + name + "\x00"
	for _, p := range processes() {
		if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID)); err == nil && string(cmdline) == want {
			return p.PID, true
		}
	}
	return 0, false
}

// detach starts a process of ours that outlives this one, whoever closes whatever terminal.
func (s *Supervisor) detach(args ...string) error {
	c := exec.Command(s.self, append([]string{"--root=" + s.root}, args...)...) //nolint:noctx // the service lives on
	c.Args[0] = "berth-svc"
	c.Dir, c.Env = "/", []string{"PATH=" + defaultPath}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	go func() { _ = c.Wait() }()
	return nil
}
