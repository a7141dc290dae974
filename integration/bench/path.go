package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// way is one way of a packet: from a namespace to an address in another.
type way struct {
	name     string
	from, to space
	address  string // of to
}

const (
	// How long one measurement of a way lasts. Ways are measured in turns, so that whatever else the machine does hits all; round trips
	// in many short ones and in no order, as how fast a sleeper is woken changes from one second to the next, and with what ran just
	// before, more than any way differs from another.
	throughputSlice = 700 * time.Millisecond
	tripsSlice      = 30 * time.Millisecond
	tripsTurns      = 30 // in each round
	// portion is what one write sends, as a program that copies a file.
	portion = 256 << 10
	port    = 5201
)

// showWays measures the ways in turns and prints a line for each in the form of `go test -bench`: the medians.
func showWays(t *bench, ways []way, rounds int) {
	speeds, trips := make([][]float64, len(ways)), make([][]float64, len(ways))
	for range rounds {
		for i, w := range ways {
			x, err := throughput(w)
			if err != nil {
				t.Fatalf("%s: throughput: %v", w.name, err)
			}
			speeds[i] = append(speeds[i], x)
		}
		for _, turn := range rand.Perm(tripsTurns * len(ways)) {
			i := turn % len(ways)
			x, err := roundTrips(ways[i])
			if err != nil {
				t.Fatalf("%s: round trips: %v", ways[i].name, err)
			}
			trips[i] = append(trips[i], x)
		}
	}
	for i, w := range ways {
		fmt.Printf("BenchmarkPath/%s %d %.3f Gbit/s %.0f roundtrips/s\n", w.name, rounds, median(speeds[i]), median(trips[i]))
	}
}

// throughput is of one TCP stream, in Gbit/s, as the receiver counts it.
func throughput(w way) (float64, error) {
	at := net.JoinHostPort(w.address, fmt.Sprint(port))
	l, err := inside(w.to, func() (net.Listener, error) { return net.Listen("tcp4", at) })
	if err != nil {
		return 0, err
	}
	defer l.Close()
	sender, err := inside(w.from, func() (net.Conn, error) { return net.DialTimeout("tcp4", at, 5*time.Second) })
	if err != nil {
		return 0, err
	}
	defer sender.Close()
	receiver, err := l.Accept()
	if err != nil {
		return 0, err
	}
	defer receiver.Close()
	go func() { // ends when the sender is closed
		full := make([]byte, portion)
		for {
			if _, err := sender.Write(full); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, portion)
	count := func(d time.Duration) (int64, time.Duration, error) {
		began, n := time.Now(), int64(0)
		for time.Since(began) < d {
			got, err := receiver.Read(buf)
			if err != nil {
				return 0, 0, err
			}
			n += int64(got)
		}
		return n, time.Since(began), nil
	}
	if _, _, err := count(throughputSlice / 7); err != nil { // until the window is open
		return 0, err
	}
	n, took, err := count(throughputSlice)
	return float64(n) * 8 / took.Seconds() / 1e9, err
}

// roundTrips is how often a second a small UDP packet goes there and back. Both sides wait in the kernel, on threads of their own:
// Go's poller would be most of what is measured.
func roundTrips(w way) (float64, error) {
	at, err := netip.ParseAddr(w.address)
	if err != nil {
		return 0, err
	}
	there := &unix.SockaddrInet4{Port: port, Addr: at.As4()}
	echo, err := inside(w.to, func() (int, error) {
		fd, err := socket()
		if err == nil {
			err = unix.Bind(fd, there)
		}
		return fd, err
	})
	if err != nil {
		return 0, err
	}
	stopped := make(chan error, 1)
	go func() {
		_, err := inside(w.to, func() (struct{}, error) { return struct{}{}, answer(echo) })
		stopped <- err
	}()
	n, err := inside(w.from, func() (float64, error) {
		fd, err := socket()
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, there); err != nil {
			return 0, err
		}
		defer func() { _, _ = unix.Write(fd, []byte("end")) }()
		return trips(fd)
	})
	return n, errors.Join(err, <-stopped)
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	limit := unix.NsecToTimeval((5 * time.Second).Nanoseconds())
	return fd, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
}

// answer sends back what comes until it is told to end.
func answer(fd int) error {
	defer unix.Close(fd)
	buf := make([]byte, 16)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		if string(buf[:n]) == "end" {
			return nil
		}
		if err := unix.Sendto(fd, buf[:n], 0, from); err != nil {
			return os.NewSyscallError("sendto", err)
		}
	}
}

func trips(fd int) (float64, error) {
	buf := make([]byte, 16)
	trip := func() error {
		if _, err := unix.Write(fd, []byte("x")); err != nil {
			return os.NewSyscallError("write", err)
		}
		for {
			_, err := unix.Read(fd, buf)
			if !errors.Is(err, unix.EINTR) {
				return os.NewSyscallError("read", err)
			}
		}
	}
	for range 100 { // ARP, caches
		if err := trip(); err != nil {
			return 0, err
		}
	}
	began, n := time.Now(), 0
	for ; time.Since(began) < tripsSlice; n++ {
		if err := trip(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
