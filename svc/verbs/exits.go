package verbs

import (
	"strings"

	"github.com/berth-project/berth/unit"
)

// exitWord is what systemd calls an exit code, empty if it has no name for it.
func exitWord(code int) string {
	if name := unit.ExitName(code); name != "n/a" {
		return name
	}
	return ""
}

// signalWord is a signal's name without "SIG".
func signalWord(number int) string { return strings.TrimPrefix(unit.SignalName(number), "SIG") }

// signalName completes what a person types: "9", "KILL" or "SIGKILL" to "SIGKILL".
func signalName(s string) (string, bool) {
	n, ok := unit.Signal(s)
	if !ok {
		return "", false
	}
	return unit.SignalName(n), true
}
