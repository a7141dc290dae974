package unit

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Socket is a [Socket] section. A container has nobody who would wait for the first connection: the service is started with its socket, and is
// given the descriptors as by systemd.
type Socket struct {
	Service string // what it starts
	Listen  []Listener
	FDName  string // of all its descriptors, in LISTEN_FDNAMES

	Mode, DirectoryMode uint32 // of what is in the file system, and of the folders that are made for it
	User, Group         string // its owner; empty: root
	Symlinks            []string
	RemoveOnStop        bool

	Backlog      int    // 0: as many as the kernel allows
	IPv6Only     string // "both", "ipv6-only"; empty: as the kernel has it
	ReusePort    bool
	FreeBind     bool
	Transparent  bool
	Broadcast    bool
	KeepAlive    bool
	NoDelay      bool
	PassCred     bool
	PassSecurity bool

	Refused string // why it cannot be; empty: it can
}

// Listener is one address that a socket listens on.
type Listener struct {
	Kind    string // "stream", "datagram", "seqpacket", "fifo"
	Address string // "/run/x", "@abstract", "22", "127.0.0.1:22", "[::1]:22"
}

// Passed is a socket unit whose descriptors a service is given when it starts.
type Passed struct {
	Unit   string
	Socket Socket
}

func (l *loader) socketSettings() map[string]setter {
	s := l.unit.Socket
	accept := func(string) error { return nil }
	refuse := func(reason string) setter {
		return func(v string) error {
			if v != "" && s.Refused == "" {
				s.Refused = reason
			}
			return nil
		}
	}
	tuning := without("how large and how urgent its buffers are the container's kernel decides")
	table := map[string]setter{
		"ListenStream":           s.listen("stream"),
		"ListenDatagram":         s.listen("datagram"),
		"ListenSequentialPacket": s.listen("seqpacket"),
		"ListenFIFO":             s.listen("fifo"),
		"ListenSpecial":          refuse("ListenSpecial= is not possible in a container"),
		"ListenNetlink":          refuse("ListenNetlink= is not possible in a container"),
		"ListenMessageQueue":     refuse("ListenMessageQueue= is not possible in a container"),
		"ListenUSBFunction":      refuse("ListenUSBFunction= is not possible in a container"),
		"Accept": func(v string) error {
			yes, err := ParseBool(v)
			if err == nil && yes {
				s.Refused = "with Accept=yes each connection would start a service; xinetd does that in a container"
			}
			return err
		},
		"Service": func(v string) error {
			if !ValidName(v) || !strings.HasSuffix(v, ".service") || IsTemplate(v) {
				return badSetting{fmt.Errorf("%q is not the name of a service", v)}
			}
			s.Service = v
			return nil
		},
		"FileDescriptorName": word(&s.FDName),
		"SocketMode":         mode(&s.Mode),
		"DirectoryMode":      mode(&s.DirectoryMode),
		"SocketUser":         l.account(&s.User),
		"SocketGroup":        l.account(&s.Group),
		"Symlinks":           list(&s.Symlinks),
		"RemoveOnStop":       flag(&s.RemoveOnStop),
		"Backlog":            number(&s.Backlog),
		"BindIPv6Only":       oneOf(&s.IPv6Only, "default", "both", "ipv6-only"),
		"ReusePort":          flag(&s.ReusePort),
		"FreeBind":           flag(&s.FreeBind),
		"Transparent":        flag(&s.Transparent),
		"Broadcast":          flag(&s.Broadcast),
		"KeepAlive":          flag(&s.KeepAlive),
		"NoDelay":            flag(&s.NoDelay),
		"PassCredentials":    flag(&s.PassCred),
		"PassSecurity":       flag(&s.PassSecurity),
		"Writable":           accept,
		"FlushPending":       accept,
		"TimeoutSec":         accept,
	}
	for _, key := range []string{"ReceiveBuffer", "SendBuffer", "PipeSize", "MessageQueueMaxMessages", "MessageQueueMessageSize", "Priority", "Mark",
		"IPTOS", "IPTTL", "TCPCongestion", "KeepAliveTimeSec", "KeepAliveIntervalSec", "KeepAliveProbes", "DeferAcceptSec"} {
		table[key] = func(string) error { return tuning }
	}
	for _, key := range []string{"MaxConnections", "MaxConnectionsPerSource", "TriggerLimitIntervalSec", "TriggerLimitBurst", "PollLimitIntervalSec", "PollLimitBurst"} {
		table[key] = func(string) error { return without("its service is started with it, and not by connections") }
	}
	for _, key := range []string{"ExecStartPre", "ExecStartPost", "ExecStopPre", "ExecStopPost"} {
		table[key] = func(string) error {
			return without("a socket in a container has no commands; its service may have them")
		}
	}
	return table
}

// listen takes addresses of one kind. An empty value takes back those of all kinds.
func (s *Socket) listen(kind string) setter {
	return func(v string) error {
		if v == "" {
			s.Listen = nil
			return nil
		}
		if err := checkAddress(kind, v); err != nil {
			return badSetting{err}
		}
		if strings.HasPrefix(v, "vsock:") {
			s.Refused = "a container has no VSOCK"
		}
		if path.IsAbs(v) {
			v = path.Clean(v)
		}
		s.Listen = append(s.Listen, Listener{kind, v})
		return nil
	}
}

func checkAddress(kind, v string) error {
	switch {
	case path.IsAbs(v):
		return nil
	case kind == "fifo":
		return fmt.Errorf("%q is not an absolute path", v)
	case strings.HasPrefix(v, "@") && len(v) > 1, strings.HasPrefix(v, "vsock:"):
		return nil
	case kind == "seqpacket":
		return fmt.Errorf("%q is neither a path nor an abstract name", v)
	}
	_, err := ParseAddress(v)
	return err
}

// ParseAddress reads an address of IP: a port alone is on all addresses of the machine, for which the zero Addr stands.
func ParseAddress(v string) (netip.AddrPort, error) {
	if n, err := strconv.ParseUint(v, 10, 16); err == nil && n > 0 {
		return netip.AddrPortFrom(netip.Addr{}, uint16(n)), nil
	}
	a, err := netip.ParseAddrPort(v)
	if err == nil && a.Port() == 0 {
		err = errors.New("port 0")
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address to listen on", v)
	}
	return a, nil
}

// finishSocket refuses what listens nowhere.
func (l *loader) finishSocket() {
	s := l.unit.Socket
	if s.FDName == "" {
		s.FDName = l.unit.Name
	}
	if s.IPv6Only == "default" {
		s.IPv6Only = ""
	}
	if len(s.Listen) == 0 && s.Refused == "" && !IsTemplate(l.unit.Name) {
		l.bad = append(l.bad, "Unit has no Listen setting (ListenStream=, ListenDatagram=, ListenFIFO=, ...). Refusing.")
	}
}

// Passed lists the sockets that a service is given if they are active: those that name it, and those that it names itself.
func (s *Set) Passed(service string) []Passed {
	u := s.Unit(service)
	if u.Service == nil {
		return nil
	}
	var own []string
	for _, name := range u.Service.Sockets {
		own = append(own, s.resolve(name))
	}
	var out []Passed
	for _, name := range s.Names() {
		if !strings.HasSuffix(name, ".socket") || IsTemplate(name) {
			continue
		}
		other := s.Unit(name)
		if other.Load != Loaded || other.Socket.Refused != "" || slices.ContainsFunc(out, func(p Passed) bool { return p.Unit == other.Name }) {
			continue
		}
		if slices.Contains(own, other.Name) || s.resolve(other.Socket.Service) == u.Name {
			out = append(out, Passed{other.Name, *other.Socket})
		}
	}
	return out
}
