package svc

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// startSocket makes a socket unit active. There is nobody in a container who would wait for connections: each start of the service opens the
// sockets of its active units itself, and the service is started at once, as package unit puts it into every order with its socket.
func (s *Supervisor) startSocket(u *unit.Unit) error {
	if u.Socket.Refused != "" {
		return &manager.Error{Unit: u.Name, Result: "not-supported", Err: errors.New(u.Socket.Refused)}
	}
	_, err := s.update(u.Name, func(r *record) {
		r.Result = "success"
		r.set(manager.IsActive, "listening", uptime())
	})
	return err
}

// stopSocket keeps the next start of the service from opening it. What listens now goes on.
func (s *Supervisor) stopSocket(u *unit.Unit) error {
	if u.Socket != nil && u.Socket.RemoveOnStop {
		for _, l := range u.Socket.Listen {
			if filepath.IsAbs(l.Address) {
				_ = os.Remove(l.Address)
			}
		}
		for _, link := range u.Socket.Symlinks {
			_ = os.Remove(link)
		}
	}
	_, err := s.update(u.Name, func(r *record) { r.set(manager.Inactive, "dead", uptime()) })
	return err
}

// passed are the sockets that a service is given now: those of its units that are active.
func (l *life) passed() []unit.Passed {
	var out []unit.Passed
	for _, p := range l.u.Passed {
		if r, err := l.s.read(p.Unit); err == nil && r.Active == manager.IsActive {
			out = append(out, p)
		}
	}
	return out
}

// firstPassed is the first descriptor after standard error; sd_listen_fds(3).
const firstPassed = 3

// descriptors is how many a service is given.
func descriptors(passed []unit.Passed) int {
	n := 0
	for _, p := range passed {
		n += len(p.Socket.Listen)
	}
	return n
}

// openSockets opens all that listens, as root. The descriptors are closed at exec.
func openSockets(passed []unit.Passed) (fds []int, names []string, err error) {
	for _, p := range passed {
		for _, on := range p.Socket.Listen {
			fd, err := openListener(&p.Socket, on)
			if err != nil {
				return nil, nil, failed(exitFDs, fmt.Errorf("%s: listen on %s: %w", p.Unit, on.Address, err))
			}
			fds, names = append(fds, fd), append(names, p.Socket.FDName)
		}
	}
	return fds, names, nil
}

// handSockets puts the descriptors where the service looks for them, which is the last step before exec: whoever started this process has kept
// those places free of descriptors of Go's own.
func (l *launch) handSockets(fds []int, names []string) error {
	if len(fds) == 0 {
		return nil
	}
	for i, fd := range fds {
		if err := unix.Dup3(fd, firstPassed+i, 0); err != nil {
			return failed(exitFDs, err)
		}
	}
	if l.Stdin.Target == "socket" {
		if err := unix.Dup3(firstPassed, 0, 0); err != nil {
			return failed(exitStdin, err)
		}
	}
	l.Env = append(l.Env, fmt.Sprintf("LISTEN_PID=%d", os.Getpid()), fmt.Sprintf("LISTEN_FDS=%d", len(fds)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return nil
}

func openListener(s *unit.Socket, on unit.Listener) (int, error) {
	switch {
	case on.Kind == "fifo":
		return openFIFO(s, on.Address)
	case filepath.IsAbs(on.Address), strings.HasPrefix(on.Address, "@"):
		return openLocal(s, on)
	}
	return openInternet(s, on)
}

func socketType(kind string) int {
	switch kind {
	case "datagram":
		return unix.SOCK_DGRAM
	case "seqpacket":
		return unix.SOCK_SEQPACKET
	}
	return unix.SOCK_STREAM
}

// listening binds a new socket and listens, after prepare.
func listening(s *unit.Socket, domain int, kind string, to unix.Sockaddr, prepare func(fd int) error) (int, error) {
	kindOf := socketType(kind)
	fd, err := unix.Socket(domain, kindOf|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err = prepare(fd); err == nil {
		err = unix.Bind(fd, to)
	}
	if err == nil && kindOf != unix.SOCK_DGRAM {
		backlog := s.Backlog
		if backlog == 0 {
			backlog = 4096 // the kernel's own limit, or above it
		}
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// set turns on options of a socket. Those are asked for by name that a kernel may refuse, and then the socket works all the same.
func set(fd, level int, options ...int) {
	for _, o := range options {
		_ = unix.SetsockoptInt(fd, level, o, 1)
	}
}

func openLocal(s *unit.Socket, on unit.Listener) (int, error) {
	file := filepath.IsAbs(on.Address)
	if file {
		if err := makeWayFor(s, on.Address); err != nil {
			return 0, err
		}
	}
	old := unix.Umask(int(0o777 &^ s.Mode))
	fd, err := listening(s, unix.AF_UNIX, on.Kind, &unix.SockaddrUnix{Name: on.Address}, func(fd int) error {
		if s.PassCred {
			set(fd, unix.SOL_SOCKET, unix.SO_PASSCRED)
		}
		if s.PassSecurity {
			set(fd, unix.SOL_SOCKET, unix.SO_PASSSEC)
		}
		return nil
	})
	unix.Umask(old)
	if err != nil || !file {
		return fd, err
	}
	if err := finishFile(s, on.Address); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func openFIFO(s *unit.Socket, path string) (int, error) {
	if err := makeWayFor(s, path); err != nil {
		return 0, err
	}
	if err := unix.Mkfifo(path, s.Mode); err != nil {
		return 0, err
	}
	if err := errors.Join(os.Chmod(path, os.FileMode(s.Mode)), finishFile(s, path)); err != nil {
		return 0, err
	}
	return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
}

// makeWayFor makes the folder, and removes what the service's life before has left there.
func makeWayFor(s *unit.Socket, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), os.FileMode(s.DirectoryMode)); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&(os.ModeSocket|os.ModeNamedPipe) != 0 {
		return os.Remove(path)
	}
	return nil
}

// finishFile gives a file its owner and, if it is the only one, its other names.
func finishFile(s *unit.Socket, path string) error {
	uid, gid, err := socketOwner(s)
	if err == nil && (uid >= 0 || gid >= 0) {
		err = os.Lchown(path, uid, gid)
	}
	files := 0
	for _, l := range s.Listen {
		if filepath.IsAbs(l.Address) {
			files++
		}
	}
	for _, link := range s.Symlinks {
		if err == nil && files == 1 {
			_ = os.Remove(link)
			err = errors.Join(os.MkdirAll(filepath.Dir(link), os.FileMode(s.DirectoryMode)), os.Symlink(path, link))
		}
	}
	return err
}

// socketOwner gives -1 for what stays root's.
func socketOwner(s *unit.Socket) (uid, gid int, err error) {
	uid, gid = -1, -1
	if s.User != "" {
		var c credentials
		if err := c.user(&unit.Service{User: s.User}); err != nil {
			return 0, 0, fmt.Errorf("owner of the socket: %w", err)
		}
		uid, gid = c.UID, c.GID
	}
	if s.Group != "" {
		if gid, err = groupID(s.Group); err != nil {
			return 0, 0, fmt.Errorf("owner of the socket: %w", err)
		}
	}
	return uid, gid, nil
}

func openInternet(s *unit.Socket, on unit.Listener) (int, error) {
	at, err := unit.ParseAddress(on.Address)
	if err != nil {
		return 0, err
	}
	prepare := func(fd int) error {
		set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
		for option, wanted := range map[[2]int]bool{
			{unix.SOL_SOCKET, unix.SO_REUSEPORT}: s.ReusePort, {unix.SOL_SOCKET, unix.SO_BROADCAST}: s.Broadcast,
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE}: s.KeepAlive, {unix.IPPROTO_TCP, unix.TCP_NODELAY}: s.NoDelay,
			{unix.IPPROTO_IP, unix.IP_FREEBIND}: s.FreeBind, {unix.IPPROTO_IP, unix.IP_TRANSPARENT}: s.Transparent,
		} {
			if wanted {
				set(fd, option[0], option[1])
			}
		}
		return nil
	}
	everywhere := !at.Addr().IsValid()
	if !everywhere && at.Addr().Is4() {
		return listening(s, unix.AF_INET, on.Kind, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, prepare)
	}
	to := &unix.SockaddrInet6{Port: int(at.Port())}
	if everywhere {
		at = netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port())
	}
	to.Addr = at.Addr().As16()
	fd, err := listening(s, unix.AF_INET6, on.Kind, to, func(fd int) error {
		switch s.IPv6Only {
		case "ipv6-only":
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		case "both":
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		}
		return prepare(fd)
	})
	if everywhere && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
		return listening(s, unix.AF_INET, on.Kind, &unix.SockaddrInet4{Port: int(at.Port())}, prepare) // a kernel without IPv6
	}
	return fd, err
}
