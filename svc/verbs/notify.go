package verbs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const notifyHelp = `systemd-notify [OPTIONS...] [VARIABLE=VALUE...]

Tells the supervisor of the service that calls it how the service is; by default only its main process is believed, so that the unit
of a script needs NotifyAccess=all.

     --ready           the service has started
     --reloading       it reloads its configuration; --ready ends that
     --stopping        it begins to end
     --status=TEXT     a line for systemctl status
     --pid[=PID]       its main process: the caller of systemd-notify, or PID
     --no-block        do not wait until that was heard
     --booted          only say by the exit code whether services are managed here

Example: systemd-notify --ready --status="42 sites"
`

// barrierPatience is how long a message may take to be heard: systemd-notify's own.
const barrierPatience = 5 * time.Second

// notify is systemd-notify(1), for services that are scripts.
func notify(c *call, args []string) int {
	found, fields, err := parse([]option{
		{long: "help", short: 'h'}, {long: "version"}, {long: "ready"}, {long: "reloading"}, {long: "stopping"}, {long: "status", value: true},
		{long: "pid", value: true, optional: true}, {long: "no-block"}, {long: "booted"}, {long: "uid", value: true},
	}, args)
	if err != nil {
		c.errorf("systemd-notify: %s", err)
		return exitFailure
	}
	wait := true
	var said []string
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s", notifyHelp)
			return exitOK
		case "version":
			c.printf("%s\n", version)
			return exitOK
		case "booted":
			if c.booted() {
				return exitOK
			}
			return exitFailure
		case "uid":
			c.errorf("systemd-notify: --uid is not possible here: call it as that user, by runuser")
			return exitFailure
		case "ready":
			said = append(said, "READY=1")
		case "reloading":
			said = append(said, "RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()))
		case "stopping":
			said = append(said, "STOPPING=1")
		case "status":
			said = append(said, "STATUS="+o.value)
		case "pid":
			said = append(said, "MAINPID="+mainPID(o.value))
		case "no-block":
			wait = false
		}
	}
	if bad := slices.IndexFunc(fields, func(f string) bool { return !strings.Contains(f, "=") }); bad >= 0 {
		c.errorf("systemd-notify: %q is no VARIABLE=VALUE", fields[bad])
		return exitFailure
	}
	if said = append(said, fields...); len(said) == 0 {
		c.printf("%s", notifyHelp)
		return exitFailure
	}
	socket := c.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		c.errorf("No status data could be sent: $NOTIFY_SOCKET was not set")
		return exitFailure
	}
	if err := tell(socket, strings.Join(said, "\n"), wait); err != nil {
		c.errorf("Failed to notify init system: %s", err)
		return exitFailure
	}
	return exitOK
}

// mainPID is the value of --pid: whoever has called us, unless it says otherwise.
func mainPID(value string) string {
	switch value {
	case "", "auto", "parent":
		return fmt.Sprint(os.Getppid())
	case "self":
		return fmt.Sprint(os.Getpid())
	}
	return value
}

// monotonic is the clock that RELOADING=1 is dated by.
func monotonic() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// tell sends a message of sd_notify(3). To wait for it to be heard it sends the end of a pipe with the next one (BARRIER=1), which the
// other side closes: by then it has looked at who we are.
func tell(socket, text string, wait bool) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil || !wait {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	raw, err := conn.SyscallConn() // package net sends no rights on a connected socket of datagrams
	if err != nil {
		return errors.Join(err, w.Close())
	}
	outer := raw.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), []byte("BARRIER=1"), unix.UnixRights(int(w.Fd())), nil, 0)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := errors.Join(outer, err, w.Close()); err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(barrierPatience)); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("nobody has listened within %s", barrierPatience)
	}
	return nil
}
