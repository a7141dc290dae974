package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"
)

// execOutput bounds what Exec keeps of a command's output.
const execOutput = 64 << 10

// Exec runs a command in a running container and returns its exit code and the first 64 KiB of its output (both streams).
// When ctx ends first, the command and the processes of its group are killed, as the engine itself would leave them running;
// Exec may take abandonTimeout longer for that.
func (c *Client) Exec(ctx context.Context, id string, cmd []string) (int, []byte, error) {
	made, err := c.api.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: cmd, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, nil, fmt.Errorf("prepare a command in container %s: %w", id, err)
	}
	conn, err := c.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		if ctx.Err() != nil { // the engine may have started it all the same
			err = errors.Join(err, c.abandon(ctx, made.ID))
		}
		return 0, nil, fmt.Errorf("run a command in container %s: %w", id, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close) // reads on the hijacked connection do not watch ctx
	defer stop()
	out := &bounded{limit: execOutput}
	if _, err := stdcopy.StdCopy(out, out, conn.Reader); err != nil || ctx.Err() != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), c.abandon(ctx, made.ID))
		}
		return 0, out.data, fmt.Errorf("read a command's output in container %s: %w", id, err)
	}
	done, err := c.api.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return 0, out.data, fmt.Errorf("read a command's exit code in container %s: %w", id, err)
	}
	return done.ExitCode, out.data, nil
}

// abandonTimeout bounds the killing of a command.
const abandonTimeout = 2 * time.Second

// abandon kills a command that nobody waits for any more. The engine has no call for it, but tells the process id on the
// machine. The command may not have begun yet, so this asks until it has ended.
func (c *Client) abandon(ctx context.Context, exec string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var failed error
	for {
		e, err := c.api.ContainerExecInspect(ctx, exec)
		switch {
		case IsNotFound(err):
			return nil // with its container
		case err != nil:
			return fmt.Errorf("end an abandoned command: %w", errors.Join(err, failed))
		case e.Running && e.Pid > 0:
			failed = killInside(e.Pid, e.ContainerID)
		case e.Pid > 0:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end an abandoned command: it still runs: %w", errors.Join(ctx.Err(), failed))
		case <-tick.C:
		}
	}
}

// killInside kills a process and its group, if it is one of the container's: the engine may be on another machine, where
// the number means something else.
func killInside(pid int, container string) error {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return fmt.Errorf("find process %d: %w", pid, err)
	}
	if container == "" || !strings.Contains(string(groups), container) {
		return fmt.Errorf("process %d of this machine is not of container %s", pid, container)
	}
	if group, err := unix.Getpgid(pid); err == nil && group == pid {
		pid = -pid // with its children
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// bounded keeps the first limit bytes and swallows the rest.
type bounded struct {
	data  []byte
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), b.limit-len(b.data))]...)
	return len(p), nil
}
