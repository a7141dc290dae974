package sampler

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/monitor/figures"
)

// userHZ is the unit in which /proc/stat counts, the same on every machine for which Linux is built.
const userHZ = 100

// readHost reads what the machine itself does. A file that cannot be read leaves what was known before.
func (s *Sampler) readHost() {
	h := &s.host
	h.Name = s.o.Host
	if b, _ := s.file(s.o.Proc + "/stat"); len(b) > 0 { // of one that is too large, the beginning is what counts
		parseStat(b, h)
	}
	if b, err := s.file(s.o.Proc + "/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(b), &h.Load[0], &h.Load[1], &h.Load[2])
	}
	if b, err := s.file(s.o.Proc + "/meminfo"); err == nil {
		parseMeminfo(b, h)
	}
	if b, err := s.file(s.o.Proc + "/uptime"); err == nil {
		_, _ = fmt.Sscan(string(b), &h.Uptime)
	}
	s.readSelf(&h.Agent)
}

// readSelf reads what this process uses.
func (s *Sampler) readSelf(p *figures.Process) {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) == nil {
		p.CPUSeconds = (time.Duration(used.Utime.Nano()) + time.Duration(used.Stime.Nano())).Seconds()
	}
	if b, err := s.file(s.o.Proc + "/self/statm"); err == nil {
		if fields := bytes.Fields(b); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			p.RSS = pages * int64(os.Getpagesize())
		}
	}
	p.Goroutines = runtime.NumGoroutine()
}

// parseStat reads the lines "cpu  USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL GUEST GUEST_NICE", of all cores and of each.
// Guests' time is part of USER.
func parseStat(b []byte, h *figures.Host) {
	cores := 0
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		name, rest, ok := bytes.Cut(line, []byte{' '})
		if !ok || !bytes.HasPrefix(name, []byte("cpu")) {
			break // the cores come first
		}
		if string(name) != "cpu" {
			cores++
			continue
		}
		var busy, idle uint64
		for i, field := range bytes.Fields(rest) {
			n, err := strconv.ParseUint(string(field), 10, 64)
			switch {
			case err != nil || i > 7:
			case i == 3 || i == 4:
				idle += n
			default:
				busy += n
			}
		}
		h.CPUSeconds, h.IdleSeconds = float64(busy)/userHZ, float64(idle)/userHZ
	}
	if cores > 0 {
		h.Cores = cores
	}
}

// parseMeminfo reads "MemTotal:       16315320 kB".
func parseMeminfo(b []byte, h *figures.Host) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		key, rest, _ := bytes.Cut(line, []byte{':'})
		var to *int64
		switch string(key) {
		case "MemTotal":
			to = &h.MemTotal
		case "MemAvailable":
			to = &h.MemAvailable
		case "SwapTotal":
			to = &h.SwapTotal
		case "SwapFree":
			to = &h.SwapFree
		default:
			continue
		}
		number := bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		if n, err := strconv.ParseInt(string(number), 10, 64); err == nil && n >= 0 && n < 1<<50 {
			*to = n << 10
		}
	}
}
