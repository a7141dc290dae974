package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

const dialTimeout = time.Second

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
