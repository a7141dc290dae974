package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
)

// zabbixSource is where items are asked for.
type zabbixSource struct {
	address, runDir string
	timeout         time.Duration
}

func (o *zabbixSource) socket() string { return filepath.Join(o.runDir, "zabbix.sock") }

// notSupported is the reason why an item has no value.
type notSupported struct{ error }

// ask asks for one item, over the port if there is an address, otherwise over the socket.
func (o *zabbixSource) ask(ctx context.Context, key string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, o.timeout)
	defer stop()
	network, address := "unix", o.socket()
	if o.address != "" {
		network, address = "tcp", o.address
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return "", fmt.Errorf("ask Berth's agent at %s: %w", address, err)
	}
	defer c.Close()
	release := context.AfterFunc(ctx, func() { c.Close() })
	defer release()
	if _, err := c.Write(zbxd.Frame([]byte(key))); err != nil {
		return "", fmt.Errorf("ask %s for %s: %w", address, key, err)
	}
	data, err := zbxd.Read(c, zabbix.LimitPort+4096)
	switch {
	case network == "tcp" && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return "", fmt.Errorf("ask %s for %s: it hung up without an answer, as it does to who is not among --zabbix-server", address, key)
	case err != nil:
		return "", fmt.Errorf("ask %s for %s: %w", address, key, err)
	}
	value, err := zbxd.ParseAnswer(data)
	if err != nil {
		return "", notSupported{err}
	}
	return value, nil
}

func newZabbixTestCommand(c *cli) *cobra.Command {
	var o zabbixSource
	cmd := &cobra.Command{
		Use: "test [APP...]", Short: "Test the way to Zabbix on this host, and print every item with its value",
		Long: `test asks the agent of this host for everything that the template asks, as zabbix_agentd -p prints it: of the host, and of
all instances or those of the apps that are named. Before that it looks whether the socket is there and answers, whether
the user "zabbix" may use it, and with --address whether the port answers this machine. What is wrong is said at the end,
and makes the exit code 1.`,
		Example: `  berth zabbix test
  berth zabbix test /web --address 127.0.0.1:10060`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := zabbixTest{o: o, out: c.out}
			t.ways(cmd.Context())
			if len(t.faults) == 0 {
				t.items(cmd.Context(), args)
			}
			for _, f := range t.faults {
				fmt.Fprintln(c.err, "wrong: "+f)
			}
			if n := len(t.faults); n > 0 {
				return &failure{fmt.Errorf("the way to Zabbix has %d faults", n)}
			}
			return nil
		},
	}
	o.register(cmd)
	return cmd
}

// zabbixTest collects what is wrong.
type zabbixTest struct {
	o      zabbixSource
	out    io.Writer
	faults []string
}

func (t *zabbixTest) fault(format string, a ...any) {
	t.faults = append(t.faults, fmt.Sprintf(format, a...))
}

// ways looks at the socket and the port.
func (t *zabbixTest) ways(ctx context.Context) {
	socket := t.o
	socket.address = ""
	if t.o.address == "" {
		path := socket.socket()
		info, err := os.Stat(path)
		switch {
		case err != nil:
			t.fault("%v: does berth agent (or berth standalone) run, with this --run-dir?", err)
			return
		case info.Mode()&os.ModeSocket == 0:
			t.fault("%s is no socket", path)
			return
		}
		t.rights(path, info)
	}
	if _, err := t.o.ask(ctx, "berth.ping"); err != nil {
		t.fault("%v", err)
	}
}

// rights says whether zabbix_agentd, which runs as zabbix, comes to the socket.
func (t *zabbixTest) rights(path string, info os.FileInfo) {
	u, err := user.Lookup("zabbix")
	if err != nil {
		return // no agent of Zabbix's on this host; the port may be its way
	}
	groups, err := u.GroupIds()
	stat, ok := info.Sys().(*syscall.Stat_t)
	if err != nil || !ok {
		return
	}
	may := func(s *syscall.Stat_t, bit uint32) bool {
		switch {
		case strconv.Itoa(int(s.Uid)) == u.Uid:
			return s.Mode&(bit<<6) != 0
		case slices.Contains(groups, strconv.Itoa(int(s.Gid))):
			return s.Mode&(bit<<3) != 0
		}
		return s.Mode&bit != 0
	}
	if !may(stat, 2) {
		t.fault("the user zabbix may not use %s (mode %v, group %d): start berth with --zabbix-group %s", path, info.Mode().Perm(), stat.Gid, u.Username)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return
	}
	for dir := filepath.Dir(absolute); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && !may(s, 1) {
			t.fault("the user zabbix may not enter %s (mode %v): chmod o+x %s", dir, info.Mode().Perm(), dir)
		}
	}
}

// items prints everything that is answered.
func (t *zabbixTest) items(ctx context.Context, apps []string) {
	for _, key := range append([]string{"agent.hostname", "agent.ping"}, zabbix.HostKeys()...) {
		t.item(ctx, key)
	}
	for _, f := range zabbix.HostFigures() {
		t.item(ctx, f.Key)
	}
	if len(apps) == 0 {
		apps = []string{""}
	}
	for _, app := range apps {
		found := 0
		found += each(ctx, t, "berth.discovery", app, zabbix.InstanceFigures(), "")
		each(ctx, t, "berth.networks.discovery", app, zabbix.InterfaceFigures(), "{#INTERFACE}")
		each(ctx, t, "berth.services.discovery", app, zabbix.ServiceFigures(), "{#SERVICE}")
		if found == 0 && app != "" {
			t.fault("no instance of %s runs on this host", app)
		}
	}
	if pages, err := t.o.ask(ctx, "berth.pages"); err == nil && pages != "1" {
		t.fault("there are too many instances for the template: import what berth zabbix template --pages %s prints", pages)
	}
}

// each prints the figures of all that a discovery finds, and returns how many that are.
func each[T any](ctx context.Context, t *zabbixTest, discovery, app string, list []zabbix.Figure[T], macro string) int {
	key := discovery + "[" + quoteParam(app) + "]"
	text, err := t.o.ask(ctx, key)
	if err != nil {
		t.fault("%s: %v", key, err)
		return 0
	}
	var rows []map[string]string
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.fault("%s: %v", key, err)
		return 0
	}
	for _, row := range rows {
		params := quoteParam(row["{#APP}"]) + "," + row["{#SEAT}"]
		if macro != "" {
			params += "," + quoteParam(row[macro])
		}
		for _, f := range list {
			t.item(ctx, f.Key+"["+params+"]")
		}
	}
	return len(rows)
}

// quoteParam quotes what would end a parameter.
func quoteParam(p string) string {
	if !strings.ContainsAny(p, `",] `) {
		return p
	}
	return `"` + strings.ReplaceAll(p, `"`, `\"`) + `"`
}

// item prints one item as zabbix_agentd -p does. That a figure has no value is not wrong by itself: an instance may have no
// limit, or no network of its own.
func (t *zabbixTest) item(ctx context.Context, key string) {
	value, err := t.o.ask(ctx, key)
	var none notSupported
	switch {
	case err == nil:
		fmt.Fprintf(t.out, "%-45s [t|%s]\n", key, value)
	case errors.As(err, &none):
		fmt.Fprintf(t.out, "%-45s [m|%s] [%v]\n", key, zbxd.NotSupported, err)
	default:
		t.fault("%v", err)
	}
}
