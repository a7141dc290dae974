// Command peer is the whole content of the integration tests' image. Without arguments it answers every connection to port 7
// with the address it came from; with "dial ADDRESS" it connects once and ends.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "dial" {
		c, err := net.Dial("tcp", args[1])
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen("tcp", ":7")
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(c, c.RemoteAddr())
		c.Close()
	}
}
