package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// traffic is what a container's interfaces have moved since it started, without loopback.
type traffic struct{ in, out uint64 }

// readTraffic reads the counters in the network namespace of a process.
func readTraffic(proc string, pid int) (traffic, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "net", "dev"))
	if err != nil {
		return traffic{}, fmt.Errorf("read the network counters of process %d: %w", pid, err)
	}
	return parseTraffic(b), nil
}

// Columns of /proc/PID/net/dev behind the interface's name.
const (
	columnIn   = 0
	columnOut  = 8
	minColumns = 9
)

// parseTraffic sums up the interfaces; lines that are no counters, such as the two header lines, are passed over.
func parseTraffic(b []byte) traffic {
	var t traffic
	for line := range strings.Lines(string(b)) {
		name, counters, ok := strings.Cut(line, ":")
		columns := strings.Fields(counters)
		if !ok || strings.TrimSpace(name) == "lo" || len(columns) < minColumns {
			continue
		}
		in, err1 := strconv.ParseUint(columns[columnIn], 10, 64)
		out, err2 := strconv.ParseUint(columns[columnOut], 10, 64)
		if err1 == nil && err2 == nil {
			t.in += in
			t.out += out
		}
	}
	return t
}
