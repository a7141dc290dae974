// Command berth-zabbix asks a running Berth for one Zabbix item and prints its value:
//
//	berth-zabbix [--socket PATH] KEY [PARAM...]
//
// It exits with 0 when there is a value, 1 when the item has none (and prints what Zabbix calls not supported, with the
// reason), 2 on wrong usage and 3 when Berth does not answer. It uses the standard library only, so that it is small and
// starts in a millisecond: zabbix_agentd starts it for every item.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const notSupported = "ZBX_NOTSUPPORTED\x00"

func main() {
	socket := os.Getenv("BERTH_ZABBIX_SOCKET")
	if socket == "" {
		socket = "/run/berth/zabbix.sock"
	}
	flag.StringVar(&socket, "socket", socket, "Berth's Zabbix `socket`; also BERTH_ZABBIX_SOCKET")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: berth-zabbix [--socket PATH] KEY [PARAM...]")
		os.Exit(2)
	}
	value, err := ask(socket, flag.Arg(0), flag.Args()[1:])
	if err != nil {
		fmt.Print(notSupported, err, "\n")
		os.Exit(3)
	}
	fmt.Println(value)
	if strings.HasPrefix(value, notSupported) {
		os.Exit(1)
	}
}

// ask sends one item, with its parameters quoted as Zabbix does.
func ask(socket, key string, params []string) (string, error) {
	if len(params) > 0 {
		for i, p := range params {
			params[i] = `"` + strings.ReplaceAll(p, `"`, `\"`) + `"`
		}
		key += "[" + strings.Join(params, ",") + "]"
	}
	c, err := net.DialTimeout("unix", socket, 2*time.Second)
	if err != nil {
		return "", fmt.Errorf("ask Berth for %s: %w", key, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", fmt.Errorf("ask Berth for %s: %w", key, err)
	}
	if _, err := io.WriteString(c, key+"\n"); err != nil {
		return "", fmt.Errorf("ask Berth for %s: %w", key, err)
	}
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if err != nil {
		return "", fmt.Errorf("ask Berth for %s: %w", key, err)
	}
	return string(b), nil
}
