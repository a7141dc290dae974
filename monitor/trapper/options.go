package trapper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/spec"
)

// DefaultPort is where Zabbix servers and proxies listen.
const DefaultPort = 10051

// Server is who is told: a server or a proxy, or the nodes of one high-availability cluster, of which one answers at a time.
type Server []string // HOST:PORT

func (s Server) String() string { return strings.Join(s, ";") }

// ParseServers reads them as zabbix_agentd's ServerActive has them: "a:10051,b;c" are a, and the cluster of b and c.
func ParseServers(text string) ([]Server, error) {
	var out []Server
	for one := range strings.SplitSeq(text, ",") {
		var s Server
		for node := range strings.SplitSeq(one, ";") {
			address, err := parseNode(strings.TrimSpace(node))
			if err != nil {
				return nil, err
			}
			s = append(s, address)
		}
		out = append(out, s)
	}
	return out, nil
}

func parseNode(text string) (string, error) {
	bad := func() (string, error) {
		return "", fmt.Errorf("%q is not HOST or HOST:PORT, such as zabbix.example.com:10051", text)
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil { // without a port
		host, port = strings.Trim(text, "[]"), strconv.Itoa(DefaultPort)
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return bad()
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, " /[]") {
		return bad()
	}
	return net.JoinHostPort(host, port), nil
}

// Options of a Feed; Servers, State, Newest and Log are needed.
type Options struct {
	Servers []Server
	Host    string // this host's name
	State   *watch.Value[spec.HostState]
	// Newest is the last sample, nil before the first, and a channel that closes at the next.
	Newest func() (*figures.Snapshot, <-chan struct{})
	Every  time.Duration // between values of an instance; 30 s
	Buffer int           // bytes that are kept for a server that is away; 16 MiB
	Log    logrus.FieldLogger
	// Version is this program's.
	Version string

	// Dial is net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate fills in the defaults and reports every fault at once.
func (o *Options) Validate() error {
	if o.Every == 0 {
		o.Every = 30 * time.Second
	}
	if o.Buffer == 0 {
		o.Buffer = 16 << 20
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	var faults []error
	if len(o.Servers) == 0 || o.State == nil || o.Newest == nil || o.Log == nil {
		faults = append(faults, errors.New("trapper: Servers, State, Newest and Log are needed"))
	}
	if o.Every < time.Second || o.Buffer < 0 {
		faults = append(faults, errors.New("trapper: Every must be at least a second, and Buffer not negative"))
	}
	return errors.Join(faults...)
}
