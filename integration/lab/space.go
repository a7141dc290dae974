package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Space is a network namespace, by its name.
type Space string

func (s Space) path() string { return "/run/netns/" + string(s) }

// Command is a command inside. Not with `ip netns exec`, which would give each process mounts of its own.
func (s Space) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + s.path(), name}, args...)...)
}

// Run runs a command inside and returns its output.
func (s Space) Run(ctx context.Context, name string, args ...string) (string, error) {
	return output(s.Command(ctx, name, args...))
}

// Dial connects from inside. The address must be numeric: names are looked up elsewhere.
func (s Space) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// A socket belongs to the namespace of the thread that makes it. The thread ends with this goroutine, as it stays locked.
		runtime.LockOSThread()
		conn, err := s.dialHere(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

func (s Space) dialHere(ctx context.Context, network, address string) (net.Conn, error) {
	f, err := os.Open(s.path())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", s, err)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (s Space) add(ctx context.Context) error {
	return ip(ctx, []string{"netns", "add", string(s)}, []string{"-n", string(s), "link", "set", "lo", "up"})
}

func (s Space) remove(ctx context.Context) error {
	if _, err := os.Stat(s.path()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return ip(ctx, []string{"netns", "delete", string(s)})
}

// set sets a kernel setting of the namespace.
func (s Space) set(ctx context.Context, setting, value string) error {
	_, err := s.Run(ctx, "sysctl", "-q", "-w", setting+"="+value)
	return err
}

// join makes a link from this namespace to another: the name of its end here, the name and address of the end there.
func (s Space) join(ctx context.Context, here string, other Space, there, address string) error {
	return ip(ctx,
		[]string{"-n", string(s), "link", "add", here, "type", "veth", "peer", "name", there, "netns", string(other)},
		[]string{"-n", string(other), "addr", "add", address, "dev", there},
		[]string{"-n", string(other), "link", "set", there, "up"},
		[]string{"-n", string(s), "link", "set", here, "up"},
	)
}

// hasLink says whether there is an interface of that name.
func (s Space) hasLink(ctx context.Context, name string) bool {
	_, err := s.Run(ctx, "ip", "link", "show", name)
	return err == nil
}

// ip runs ip's commands, in order.
func ip(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if _, err := output(exec.CommandContext(ctx, "ip", args...)); err != nil {
			return err
		}
	}
	return nil
}

// output runs a command; what it says is part of the error.
func output(cmd *exec.Cmd) (string, error) {
	cmd.WaitDelay = time.Second // a daemon that it has left behind may keep its output open
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return text, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, text)
	}
	return text, nil
}

// dialUnix connects to one socket, whatever is asked for.
func dialUnix(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}
