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

// eachFlat goes through a file of "key value" lines; lines without a number are passed over.
func eachFlat(b []byte, use func(key []byte, n uint64)) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		i := bytes.IndexByte(line, ' ')
		if i < 0 {
			continue
		}
		if n, ok := parseUint(bytes.TrimSpace(line[i+1:])); ok {
			use(line[:i], n)
		}
	}
}

// parseBlkio sums up the "MAJOR:MINOR Read N" and "... Write N" lines of version 1.
func parseBlkio(b []byte) (read, written uint64) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		_, rest, ok := bytes.Cut(line, []byte{' '})
		operation, number, ok2 := bytes.Cut(rest, []byte{' '})
		n, ok3 := parseUint(number)
		if !ok || !ok2 || !ok3 {
			continue
		}
		switch string(operation) {
		case "Read":
			read += n
		case "Write":
			written += n
		}
	}
	return read, written
}

// parseIOStat sums up the "MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ..." lines of version 2.
func parseIOStat(b []byte) IO {
	var sum IO
	for len(b) > 0 {
		var field []byte
		end := bytes.IndexAny(b, " \n")
		if end < 0 {
			field, b = b, nil
		} else {
			field, b = b[:end], b[end+1:]
		}
		key, number, ok := bytes.Cut(field, []byte{'='})
		n, ok2 := parseUint(number)
		if !ok || !ok2 {
			continue
		}
		switch string(key) {
		case "rbytes":
			sum.ReadBytes += n
		case "wbytes":
			sum.WriteBytes += n
		case "rios":
			sum.Reads += n
		case "wios":
			sum.Writes += n
		}
	}
	return sum
}

func parseInt(b []byte) (int64, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number", b)
	}
	return n, nil
}

func parseUint(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil
}
