package verbs

import (
	"strconv"

	"github.com/berth-project/berth/unit"
)

// exitWord is what systemd calls an exit code: LSB's below 200, its own from there.
func exitWord(code int) string {
	lsb := []string{"SUCCESS", "FAILURE", "INVALIDARGUMENT", "NOTIMPLEMENTED", "NOPERMISSION", "NOTINSTALLED", "NOTCONFIGURED", "NOTRUNNING"}
	if code >= 0 && code < len(lsb) {
		return lsb[code]
	}
	own := []string{
		"CHDIR", "NICE", "FDS", "EXEC", "MEMORY", "LIMITS", "OOM_ADJUST", "SIGNAL_MASK", "STDIN", "STDOUT", "CHROOT", "IOPRIO", "TIMERSLACK",
		"SECUREBITS", "SETSCHEDULER", "CPUAFFINITY", "GROUP", "USER", "CAPABILITIES", "CGROUP", "SETSID", "CONFIRM", "STDERR", "", "PAM",
		"NETWORK", "NAMESPACE", "NO_NEW_PRIVILEGES", "SECCOMP", "SELINUX_CONTEXT", "PERSONALITY", "APPARMOR_PROFILE", "ADDRESS_FAMILIES",
		"RUNTIME_DIRECTORY", "", "CHOWN", "SMACK_PROCESS_LABEL", "KEYRING", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY",
		"CONFIGURATION_DIRECTORY", "NUMA_POLICY", "CREDENTIALS", "", "BPF",
	}
	if code >= 200 && code-200 < len(own) {
		return own[code-200]
	}
	return ""
}

// signalWord is a signal's name without "SIG", or its number.
func signalWord(number int) string {
	for _, name := range []string{
		"HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD",
		"CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
	} {
		if n, ok := unit.Signal(name); ok && n == number {
			return name
		}
	}
	return strconv.Itoa(number)
}

// signalName completes what a person types: "9", "KILL" or "SIGKILL" to "SIGKILL".
func signalName(s string) (string, bool) {
	n, ok := unit.Signal(s)
	if !ok {
		return "", false
	}
	if word := signalWord(n); word != strconv.Itoa(n) {
		return "SIG" + word, true
	}
	return s, true
}
