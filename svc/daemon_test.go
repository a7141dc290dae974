package svc

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// daemon is a daemon of the tests: it does the words one after the other.
//
//	fork        becomes a child in its own session, as daemons of old do; the parent ends
//	pid=FILE    writes its process's id
//	late        before pid=: the parent has ended long ago
//	log=TEXT    writes a line to standard output
//	file=FILE   appends a line to a file: who it is and what its environment says
//	notify=X    tells NOTIFY_SOCKET
//	child       has a child that sleeps and ignores SIGTERM
//	deaf        ignores SIGTERM
//	sleep       waits for SIGTERM, and ends with 0
//	exit=N      ends with this code
//	kill=N      ends by this signal
//	crash       exits 1 at once unless FILE exists
func daemon(words []string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	for i, word := range words {
		verb, value, _ := strings.Cut(word, "=")
		switch verb {
		case "fork":
			spawn(words[i+1:]...)
			return
		case "late":
			time.Sleep(100 * time.Millisecond) // the daemon's own slowness is what is tested
		case "pid":
			must(os.WriteFile(value, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644))
		case "log":
			fmt.Println(value)
		case "file":
			f, err := os.OpenFile(value, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
			must(err)
			dir, _ := os.Getwd()
			fmt.Fprintf(f, "%d uid=%d gid=%d dir=%s A=%s\n", os.Getpid(), os.Getuid(), os.Getgid(), dir, os.Getenv("A"))
			must(f.Close())
		case "notify":
			c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
			must(err)
			_, err = c.Write([]byte(value + "=1"))
			must(err)
		case "socket": // answers each connection with what it was told of its sockets
			l, err := net.FileListener(os.NewFile(3, "socket"))
			must(err)
			go func() {
				for {
					c, err := l.Accept()
					must(err)
					fmt.Fprintf(c, "%v %s %s", os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"))
					must(c.Close())
				}
			}()
		case "child":
			spawn("deaf", "sleep")
		case "deaf":
			signal.Ignore(unix.SIGTERM)
		case "sleep":
			<-term
		case "exit":
			n, _ := strconv.Atoi(value)
			os.Exit(n)
		case "kill":
			n, _ := strconv.Atoi(value)
			must(unix.Kill(os.Getpid(), unix.Signal(n)))
		}
	}
}

func spawn(words ...string) {
	self, err := os.Executable()
	must(err)
	c := exec.Command(self, append([]string{"daemon"}, words...)...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(c.Start())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}
