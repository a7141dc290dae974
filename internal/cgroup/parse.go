package cgroup

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unified is the key of the version 2 path in a membership.
const unified = ""

// noLimit is above every real limit: version 1 shows "none" as the largest multiple of the page size.
const noLimit = math.MaxInt64 / 2

// parseMembership reads /proc/PID/cgroup: controller -> path, and unified -> path. Named hierarchies (systemd's own) are
// left out: they control nothing.
func parseMembership(b []byte) (map[string]string, error) {
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		_, rest, ok1 := strings.Cut(line, ":")
		controllers, path, ok2 := strings.Cut(rest, ":")
		if !ok1 || !ok2 || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("line %q is not ID:CONTROLLERS:/PATH", line)
		}
		// A group that was removed while processes are left in it.
		path = strings.TrimSuffix(path, " (deleted)")
		for _, c := range strings.Split(controllers, ",") {
			if !strings.HasPrefix(c, "name=") {
				m[c] = path
			}
		}
	}
	return m, nil
}

// parseMax reads cpu.max: "QUOTA PERIOD" or "max PERIOD", in microseconds.
func parseMax(b []byte) (Quota, error) {
	fields := strings.Fields(string(b))
	if len(fields) == 0 || len(fields) > 2 {
		return Quota{}, fmt.Errorf("%q is not QUOTA PERIOD", b)
	}
	q := Quota{Period: DefaultPeriod}
	if len(fields) == 2 {
		n, err := parseInt([]byte(fields[1]))
		if err != nil || n <= 0 || n > math.MaxInt64/1000 {
			return Quota{}, fmt.Errorf("%q: %q is no period", b, fields[1])
		}
		q.Period = time.Duration(n) * time.Microsecond
	}
	if fields[0] == "max" {
		return q, nil
	}
	n, err := parseInt([]byte(fields[0]))
	if err != nil || n < 0 || n > math.MaxInt64/1000 {
		return Quota{}, fmt.Errorf("%q: %q is no quota", b, fields[0])
	}
	q.Time = time.Duration(n) * time.Microsecond
	return q, nil
}

// parseLimit reads a memory limit; 0 means none.
func parseLimit(b []byte) (int64, error) {
	text := strings.TrimSpace(string(b))
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no limit", text)
	}
	if n >= noLimit {
		return 0, nil
	}
	return int64(n), nil
}

// parseFlat picks values from a file of "key value" lines; a key that is missing, or has no number, is 0.
func parseFlat(b []byte, keys ...string) []uint64 {
	values := make([]uint64, len(keys))
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		i := bytes.IndexByte(line, ' ')
		if i < 0 {
			continue
		}
		for k, key := range keys {
			if string(line[:i]) == key {
				if n, err := strconv.ParseUint(string(bytes.TrimSpace(line[i+1:])), 10, 64); err == nil {
					values[k] = n
				}
			}
		}
	}
	return values
}

func parseInt(b []byte) (int64, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number", b)
	}
	return n, nil
}
