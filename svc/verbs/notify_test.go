package verbs

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestNotify: a message arrives as it was meant, and systemd-notify ends when it was heard, not before.
func TestNotify(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--ready", "--status=42 sites"}, "READY=1\nSTATUS=42 sites"},
		{[]string{"--pid"}, fmt.Sprintf("MAINPID=%d", os.Getppid())},
		{[]string{"--pid=77", "--stopping", "X=1", "WATCHDOG=1"}, "MAINPID=77\nSTOPPING=1\nX=1\nWATCHDOG=1"},
	} {
		socket := filepath.Join(t.TempDir(), "notify")
		listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		var out bytes.Buffer
		env := Environment{Root: t.TempDir(), Stdout: &out, Stderr: &out, Getenv: func(name string) string { return map[string]string{"NOTIFY_SOCKET": socket}[name] }}
		done := make(chan int, 1)
		go func() { done <- Main(context.Background(), env, append([]string{"systemd-notify"}, c.args...)) }()

		if err := listener.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		text, control := make([]byte, 4096), make([]byte, 4096)
		n, err := listener.Read(text)
		if err != nil || string(text[:n]) != c.want {
			t.Errorf("%q says %q, want %q: %v", c.args, text[:n], c.want, err)
		}
		n, nc, _, _, err := listener.ReadMsgUnix(text, control)
		if err != nil || string(text[:n]) != "BARRIER=1" {
			t.Fatalf("%q says %q in the end: %v; %s", c.args, text[:max(0, n)], err, out.String())
		}
		select {
		case code := <-done:
			t.Fatalf("%q has ended before it was heard, with %d", c.args, code)
		default:
		}
		messages, err := syscall.ParseSocketControlMessage(control[:nc])
		if err != nil || len(messages) != 1 {
			t.Fatal(len(messages), err)
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 || syscall.Close(fds[0]) != nil {
			t.Fatal(fds, err)
		}
		if code := <-done; code != exitOK || out.Len() > 0 {
			t.Errorf("%q ended with %d: %s", c.args, code, out.String())
		}
	}
}
