package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The protocol is one line a connection: the item with its parameters in, the value out, then the end. Instead of a value
// there may be NotSupported, a zero byte and the reason, as in Zabbix's own protocol.
const (
	// NotSupported is the word with which Zabbix marks an item that has no value.
	NotSupported = "ZBX_NOTSUPPORTED"

	maxRequest  = 4 << 10
	maxClients  = 64
	clientTime  = 3 * time.Second // for a whole exchange
	dialTimeout = time.Second
)

const defaultGroup = "zabbix"

// listen opens the socket for the group. A socket that a predecessor left is removed, but not one that still answers.
func listen(ctx context.Context, path, group string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's folder: %w", err)
	}
	d := net.Dialer{Timeout: dialTimeout}
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("open %s: another process answers there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the socket: %w", err)
	}
	if err := share(path, group); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// share lets the group use the socket.
func share(path, group string) error {
	name := group
	if name == "" {
		name = defaultGroup
	}
	g, err := user.LookupGroup(name)
	switch {
	case err == nil:
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("give %s to group %s: %w", path, name, err)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("give the socket to group %s: %w", name, err)
		}
	case group != "":
		return fmt.Errorf("give %s to group %s: %w", path, name, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("open the socket to its group: %w", err)
	}
	return nil
}

// serve answers until ctx ends, then removes the socket.
func (m *Monitor) serve(ctx context.Context, l net.Listener) error {
	release := context.AfterFunc(ctx, func() { l.Close() })
	defer release()
	defer l.Close()
	var wait sync.WaitGroup
	defer wait.Wait()
	free := make(chan struct{}, maxClients)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() || isBusy(err) {
				m.log.WithError(err).Warn("Cannot accept a client now")
				if !pause(ctx, 100*time.Millisecond) {
					return nil
				}
				continue
			}
			return fmt.Errorf("accept clients at %s: %w", m.o.Socket, err)
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			c.Close()
			return nil
		}
		wait.Go(func() {
			defer func() { <-free }()
			m.exchange(c)
		})
	}
}

// exchange answers one client. A client that goes away early is its own affair, so write errors are not reported.
func (m *Monitor) exchange(c net.Conn) {
	defer c.Close()
	now := time.Now()
	if err := c.SetDeadline(now.Add(clientTime)); err != nil {
		return
	}
	line, err := bufio.NewReaderSize(io.LimitReader(c, maxRequest), maxRequest).ReadString('\n')
	if err != nil {
		reason := fmt.Sprintf("a request is one line of at most %d bytes", maxRequest)
		_, _ = io.WriteString(c, NotSupported+"\x00"+reason)
		return
	}
	newest, _ := m.newest.Get()
	value, err := answer(newest, strings.TrimRight(line, "\r\n"), now)
	if err != nil {
		value = NotSupported + "\x00" + err.Error()
	}
	_, _ = io.WriteString(c, value)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isBusy says that an accept failed for want of something that comes back: descriptors, memory, or the client itself.
func isBusy(err error) bool {
	for _, busy := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, busy) {
			return true
		}
	}
	return false
}
