package unit

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseBool knows systemd's words.
func ParseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

// forever is "infinity" before a setting's own meaning of it.
const forever = time.Duration(math.MaxInt64)

var timeUnits = map[string]time.Duration{
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	"M": 2629800 * time.Second, "month": 2629800 * time.Second, "months": 2629800 * time.Second,
	"y": 31557600 * time.Second, "year": 31557600 * time.Second, "years": 31557600 * time.Second,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
}

// ParseDuration reads a time span as systemd.time(7) has it: "5min 20s", "2.5h", "90", "infinity".
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a span of time", s)
	rest := strings.TrimSpace(s)
	if rest == "infinity" {
		return forever, nil
	}
	if rest == "" {
		return 0, bad
	}
	total := 0.0
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end < 0 {
			end = len(rest)
		}
		n, err := strconv.ParseFloat(rest[:end], 64)
		if err != nil {
			return 0, bad
		}
		rest = strings.TrimLeft(rest[end:], blanks)
		end = strings.IndexFunc(rest, func(r rune) bool { return '0' <= r && r <= '9' || strings.ContainsRune(blanks, r) })
		if end < 0 {
			end = len(rest)
		}
		unit, ok := timeUnits[rest[:end]]
		if !ok {
			return 0, bad
		}
		total += n * float64(unit)
		rest = strings.TrimLeft(rest[end:], blanks)
	}
	if total >= math.MaxInt64 {
		return forever, nil
	}
	return time.Duration(total), nil
}

func parseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, fmt.Errorf("%q is not an octal mode", s)
	}
	return uint32(n), nil
}

// parseSize reads a number with a suffix to the base of 1024, as limits in bytes have it.
func parseSize(s string) (uint64, error) {
	number, factor := s, uint64(1)
	if i := strings.IndexByte("BKMGTPE", last(s)); i >= 0 {
		number, factor = s[:len(s)-1], 1<<(10*i)
	}
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && n <= math.MaxUint64/factor {
		return n * factor, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 || f*float64(factor) >= math.MaxUint64 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return uint64(f * float64(factor)), nil
}

func last(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// signals are Linux's names by number, as all our architectures have them.
var signals = []string{
	"", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD",
	"CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
}

const firstRealtime, lastRealtime = 34, 64

// Signal is the number of a signal: "TERM", "SIGTERM", "15", "RTMIN+3".
func Signal(name string) (int, bool) {
	name = strings.TrimPrefix(name, "SIG")
	if n, err := strconv.Atoi(name); err == nil {
		return n, n > 0 && n <= lastRealtime
	}
	switch name {
	case "IOT":
		name = "ABRT"
	case "CLD":
		name = "CHLD"
	case "POLL":
		name = "IO"
	}
	for _, rt := range []struct {
		word  string
		first int
	}{{"RTMIN", firstRealtime}, {"RTMAX", lastRealtime}} {
		if offset, ok := strings.CutPrefix(name, rt.word); ok {
			n := 0
			if offset != "" {
				var err error
				if n, err = strconv.Atoi(offset); err != nil {
					return 0, false
				}
			}
			n += rt.first
			return n, n >= firstRealtime && n <= lastRealtime
		}
	}
	if i := slices.Index(signals, name); i > 0 {
		return i, true
	}
	return 0, false
}

// SignalName is "SIGTERM" of 15.
func SignalName(n int) string {
	switch {
	case n > 0 && n < len(signals):
		return "SIG" + signals[n]
	case n == firstRealtime:
		return "SIGRTMIN"
	case n > firstRealtime && n <= lastRealtime:
		return "SIGRTMIN+" + strconv.Itoa(n-firstRealtime)
	}
	return strconv.Itoa(n)
}

func parseSignal(s string) (string, error) {
	n, ok := Signal(s)
	if !ok {
		return "", fmt.Errorf("%q is not a signal", s)
	}
	return SignalName(n), nil
}

// exitNames are the exit codes that have a name in systemd.exec(5).
var exitNames = map[string]int{
	"SUCCESS": 0, "FAILURE": 1, "INVALIDARGUMENT": 2, "NOTIMPLEMENTED": 3, "NOPERMISSION": 4, "NOTINSTALLED": 5, "NOTCONFIGURED": 6,
	"NOTRUNNING": 7, "USAGE": 64, "DATAERR": 65, "NOINPUT": 66, "NOUSER": 67, "NOHOST": 68, "UNAVAILABLE": 69, "SOFTWARE": 70, "OSERR": 71,
	"OSFILE": 72, "CANTCREAT": 73, "IOERR": 74, "TEMPFAIL": 75, "PROTOCOL": 76, "NOPERM": 77, "CONFIG": 78,
	"CHDIR": 200, "NICE": 201, "FDS": 202, "EXEC": 203, "MEMORY": 204, "LIMITS": 205, "OOM_ADJUST": 206, "SIGNAL_MASK": 207, "STDIN": 208,
	"STDOUT": 209, "CHROOT": 210, "IOPRIO": 211, "TIMERSLACK": 212, "SECUREBITS": 213, "SETSCHEDULER": 214, "CPUAFFINITY": 215, "GROUP": 216,
	"USER": 217, "CAPABILITIES": 218, "CGROUP": 219, "SETSID": 220, "CONFIRM": 221, "STDERR": 222, "PAM": 224, "NETWORK": 225,
	"NAMESPACE": 226, "NO_NEW_PRIVILEGES": 227, "SECCOMP": 228, "SELINUX_CONTEXT": 229, "PERSONALITY": 230, "APPARMOR_PROFILE": 231,
	"ADDRESS_FAMILIES": 232, "RUNTIME_DIRECTORY": 233, "CHOWN": 235, "SMACK_PROCESS_LABEL": 236, "KEYRING": 237, "STATE_DIRECTORY": 238,
	"CACHE_DIRECTORY": 239, "LOGS_DIRECTORY": 240, "CONFIGURATION_DIRECTORY": 241, "NUMA_POLICY": 242, "CREDENTIALS": 243, "BPF": 245,
}

// ExitName is what systemctl status calls an exit code: "FAILURE" of 1, "203" has "EXEC"; "n/a" of one without a name.
func ExitName(code int) string {
	for name, n := range exitNames {
		if n == code {
			return name
		}
	}
	return "n/a"
}

func parseStatuses(s string, into *ExitStatuses) error {
	var bad []string
	for _, w := range strings.Fields(s) {
		if n, err := strconv.Atoi(w); err == nil && n >= 0 && n <= 255 {
			into.Codes = append(into.Codes, n)
		} else if n, ok := exitNames[w]; ok {
			into.Codes = append(into.Codes, n)
		} else if sig, err := parseSignal(w); err == nil {
			into.Signals = append(into.Signals, sig)
		} else {
			bad = append(bad, w)
		}
	}
	if bad != nil {
		return fmt.Errorf("neither exit codes nor signals: %s", strings.Join(bad, " "))
	}
	return nil
}
