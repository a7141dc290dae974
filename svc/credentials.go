package svc

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

// credentials are who a service runs as.
type credentials struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups"`
	Name   string `json:"name,omitempty"`
	Home   string `json:"home,omitempty"`
	Shell  string `json:"shell,omitempty"`
	Named  bool   `json:"named,omitempty"` // User= is set: the environment says who it is
}

// DynamicUser's ids, as systemd chooses them.
const (
	dynamicFirst = 61184
	dynamicLast  = 65519
)

// identify looks up whom a service is to run as; nil: root, with root's groups.
func identify(name string, s *unit.Service) (*credentials, error) {
	if s.User == "" && s.Group == "" && len(s.SupplementaryGroups) == 0 && !s.DynamicUser {
		return nil, nil
	}
	c := &credentials{Name: "root", Home: "/root", Shell: "/bin/sh", Named: s.User != ""}
	switch {
	case s.User != "":
		if err := c.user(s); err != nil {
			return nil, failed(exitUser, err)
		}
	case s.DynamicUser:
		c.dynamic(strings.TrimSuffix(name, ".service"))
	}
	if s.Group != "" {
		gid, err := groupID(s.Group)
		if err != nil && s.DynamicUser {
			gid, err = c.GID, nil
		}
		if err != nil {
			return nil, failed(exitGroup, err)
		}
		c.GID = gid
	}
	for _, group := range s.SupplementaryGroups {
		gid, err := groupID(group)
		if err != nil {
			return nil, failed(exitGroup, err)
		}
		c.Groups = append(c.Groups, gid)
	}
	slices.Sort(c.Groups)
	c.Groups = slices.Compact(c.Groups)
	return c, nil
}

// user fills in an account of /etc/passwd, or an id without one.
func (c *credentials) user(s *unit.Service) error {
	found, err := user.Lookup(s.User)
	if err != nil {
		if found, err = user.LookupId(s.User); err != nil {
			if id, numErr := strconv.Atoi(s.User); numErr == nil {
				c.UID, c.GID, c.Name, c.Home = id, id, s.User, "/"
				return nil
			}
			if s.DynamicUser {
				c.dynamic(s.User)
				return nil
			}
			return fmt.Errorf("User=%s: there is no such user", s.User)
		}
	}
	c.UID, _ = strconv.Atoi(found.Uid)
	c.GID, _ = strconv.Atoi(found.Gid)
	c.Name, c.Home, c.Shell = found.Username, found.HomeDir, shellOf(found.Username)
	groups, _ := found.GroupIds()
	for _, group := range groups {
		if gid, err := strconv.Atoi(group); err == nil {
			c.Groups = append(c.Groups, gid)
		}
	}
	return nil
}

// shellOf is a user's login shell, which os/user does not tell.
func shellOf(name string) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 7 && fields[0] == name {
			return fields[6]
		}
	}
	return ""
}

// dynamic is an id without an account. The same name has the same id in every container, so the files that it left fit.
func (c *credentials) dynamic(name string) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	id := dynamicFirst + int(h.Sum32()%(dynamicLast-dynamicFirst+1))
	c.UID, c.GID, c.Name, c.Home, c.Shell = id, id, name, "/", "/usr/sbin/nologin"
}

func groupID(name string) (int, error) {
	found, err := user.LookupGroup(name)
	if err != nil {
		if id, err := strconv.Atoi(name); err == nil {
			return id, nil
		}
		return 0, fmt.Errorf("Group=%s: there is no such group", name)
	}
	return strconv.Atoi(found.Gid)
}

// impersonate takes on the credentials and the ambient capabilities.
func (l *launch) impersonate() error {
	c := l.Credentials
	if c == nil {
		return nil
	}
	keep := capabilityBits(l.Ambient)
	if keep != 0 && c.UID != 0 {
		if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
			return failed(exitCaps, err)
		}
	}
	if err := syscall.Setgroups(c.Groups); err != nil {
		return failed(exitGroup, fmt.Errorf("set groups %v: %w", c.Groups, err))
	}
	if err := syscall.Setgid(c.GID); err != nil {
		return failed(exitGroup, fmt.Errorf("become group %d: %w", c.GID, err))
	}
	// Go's own would let the ids of all threads follow; the capabilities of this one are kept by PR_SET_KEEPCAPS, which is a thread's.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(c.UID), uintptr(c.UID), uintptr(c.UID)); errno != 0 {
		return failed(exitUser, fmt.Errorf("become user %d: %w", c.UID, errno))
	}
	if keep != 0 && c.UID != 0 {
		raiseAmbient(keep)
	}
	return nil
}

// capabilityBits is a set of capabilities by name; those unknown here are left out.
func capabilityBits(names []string) uint64 {
	var bits uint64
	for _, name := range names {
		if i := slices.Index(capabilityNames(), strings.ToUpper(name)); i >= 0 {
			bits |= 1 << i
		}
	}
	return bits
}

// capabilityNames are the kernel's, in its order.
func capabilityNames() []string {
	return strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
		CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO
		CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD
		CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
		CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)
}

// raiseAmbient makes capabilities survive the exec of a program without any. Those that the container does not have are left out.
func raiseAmbient(want uint64) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, (*unix.CapUserData)(unsafe.Pointer(&data))) != nil {
		return
	}
	permitted := uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	want &= permitted
	for i, word := range []uint32{uint32(want), uint32(want >> 32)} {
		data[i] = unix.CapUserData{Effective: word, Permitted: word, Inheritable: word}
	}
	if unix.Capset(&head, (*unix.CapUserData)(unsafe.Pointer(&data))) != nil {
		return
	}
	for i := range len(capabilityNames()) {
		if want&(1<<i) != 0 {
			_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(i), 0, 0)
		}
	}
}
