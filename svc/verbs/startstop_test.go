package verbs

import (
	"slices"
	"strings"
	"testing"
)

// FuzzStartStop: a command line that is understood means the same when it is said again with another condition for --exec.
func FuzzStartStop(f *testing.F) {
	for _, line := range []string{
		"--start --quiet --pidfile /run/a.pid --exec /usr/bin/a -- -x --exec b", "-Kqp/run/a.pid -R TERM/5 -x/usr/bin/a", "--stat --exe=/usr/bin/a word",
		"-S -x a -a b -u", "-K --pid 7 --ppid=1 -n name -r /root --", "- -- -", "--=", "-Sx", "-x0 -a ",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, ok := parseStartStop(strings.Split(line, " "))
		if !ok {
			return
		}
		if again, ok := parseStartStop(o.others); !ok || !slices.Equal(again.others, o.others) || again.exec != "" || again.pidFile != o.pidFile {
			t.Errorf("%q is said as %q, which is understood as %q", line, o.others, again.others)
		}
		if o.exec == "" {
			return
		}
		said := o.with("--name", "it")
		again, ok := parseStartStop(said)
		start := o.startAs
		if start == "" {
			start = o.exec
		}
		if !ok || again.exec != "" || again.startAs != start || again.pid != o.pid || again.ppid != o.ppid || again.root != o.root {
			t.Errorf("%q with a name is %q, which is understood as %+v", line, said, again)
		}
	})
}
