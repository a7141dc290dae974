// Command berth-zabbix asks a running Berth for one Zabbix item and prints its value: berth-zabbix [--socket PATH] KEY [PARAM...]
//
// Exit codes: 1 the item has no value (printed is Zabbix's word for that, and the reason), 2 wrong usage, 3 no answer.
// Standard library only, so that it starts in a millisecond: zabbix_agentd starts it for every item.
package main

import (
	"cmp"
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
	socket := flag.String("socket", cmp.Or(os.Getenv("BERTH_ZABBIX_SOCKET"), "/run/berth/zabbix.sock"), "Berth's `socket`; also BERTH_ZABBIX_SOCKET")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: berth-zabbix [--socket PATH] KEY [PARAM...]")
		os.Exit(2)
	}
	value, err := ask(*socket, flag.Arg(0), flag.Args()[1:])
	if err != nil {
		fmt.Fprintf(os.Stdout, "%sask Berth for %s: %v\n", notSupported, flag.Arg(0), err)
		os.Exit(3)
	}
	fmt.Fprintln(os.Stdout, value)
	if strings.HasPrefix(value, notSupported) {
		os.Exit(1)
	}
}

// ask sends one item, with its parameters quoted as Zabbix does.
func ask(socket, key string, params []string) (string, error) {
	for i, p := range params {
		params[i] = `"` + strings.ReplaceAll(p, `"`, `\"`) + `"`
	}
	if len(params) > 0 {
		key += "[" + strings.Join(params, ",") + "]"
	}
	c, err := (&net.Dialer{Deadline: time.Now().Add(2 * time.Second)}).Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, key+"\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	return string(b), err
}
