package main

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"testing"
)

func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "z.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, "<"+line+">")
			c.Close()
		}
	}()
	for want, args := range map[string][]string{
		"<berth.ping\n>":                     {"berth.ping"},
		"<berth.procs[\"/web\",\"0\"]\n>":    {"berth.procs", "/web", "0"},
		"<berth.discovery[\"a\\\"b, ]\"]\n>": {"berth.discovery", `a"b, ]`},
	} {
		if got, err := ask(path, args[0], args[1:]); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", args, got, err, want)
		}
	}
	l.Close()
	if got, err := ask(path, "berth.ping", nil); err == nil {
		t.Errorf("got %q from nobody", got)
	}
}
