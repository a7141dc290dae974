package verbs

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what was printed into the scenarios")

// TestScenarios plays command lines ("$ systemctl start web") and compares what is printed below each. "! " is standard error, "= 3" an exit
// code. "$ @..." changes the world, see act.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newWorld(t).play(string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("run with -update and look at the difference:\n%s", difference(string(text), got))
			}
		})
	}
}

// difference shows the first lines that differ.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			from := max(0, i-3)
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1, strings.Join(a[from:min(len(a), i+8)], "\n"), strings.Join(b[from:min(len(b), i+8)], "\n"))
		}
	}
	return fmt.Sprintf("%d lines wanted, %d printed", len(a), len(b))
}

// play runs the commands of a scenario and gives it with the present answers.
func (w *world) play(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ ")
		if strings.HasPrefix(line, "# ") {
			b.WriteString("\n" + line)
		}
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "\n$ %s\n", command)
		w.out.Reset()
		args := words(command)
		code := 0
		if strings.HasPrefix(args[0], "@") {
			w.act(args[0], args[1:])
		} else {
			code = Main(context.Background(), w.environment(), args)
		}
		out := strings.ReplaceAll(w.out.String(), w.root, "")
		for ln := range strings.Lines(out) {
			// A scenario's own marks are quoted, so that it can be read again.
			if strings.HasPrefix(ln, "$ ") || strings.HasPrefix(ln, "# ") {
				ln = "\\" + ln
			}
			b.WriteString(strings.TrimRight(ln, " \n") + "\n")
		}
		if code != 0 {
			fmt.Fprintf(&b, "= %d\n", code)
		}
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// words cuts a command line; single quotes hold words together.
func words(s string) []string {
	var all []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// act changes or shows the world.
func (w *world) act(what string, args []string) {
	switch what {
	case "@later":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			w.t.Fatal(err)
		}
		w.now = w.now.Add(d)
	case "@uid":
		w.uid, _ = strconv.Atoi(args[0])
	case "@locale":
		w.locale = args[0]
	case "@hide":
		w.hidden = true
	case "@terminal":
		w.tty = args[0] == "yes"
	case "@log":
		w.log(args[0], args[1])
	case "@exit":
		w.scripts[args[0]], _ = strconv.Atoi(args[1])
	case "@write":
		w.write(args[0], strings.ReplaceAll(args[1], `\n`, "\n")+"\n", len(args) > 2)
	case "@process": // PID NAME STATE PARENT EXE ARGS...
		dir := "/proc/" + args[0]
		w.write(dir+"/stat", fmt.Sprintf("%s (%s) %s %s 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 2 0 100 0 0", args[0], args[1], args[2], args[3]), false)
		w.write(dir+"/cmdline", strings.Join(args[5:], "\x00")+"\x00", false)
		if args[4] != "hidden" {
			args[4] = w.path(args[4])
		}
		w.link(dir+"/exe", args[4])
	case "@link":
		w.link(args[0], w.path(args[1]))
	case "@remove":
		if err := os.RemoveAll(w.path(args[0])); err != nil {
			w.t.Fatal(err)
		}
	case "@ls":
		w.list(args)
	case "@cat":
		text, err := os.ReadFile(w.path(args[0]))
		fmt.Fprintf(&w.out, "%s", text)
		if err != nil {
			fmt.Fprintln(&w.out, "missing")
		}
	default:
		w.t.Fatalf("no action %s", what)
	}
}

// list shows files of the patterns with what links lead to, and modes of the others.
func (w *world) list(patterns []string) {
	var all []string
	for _, p := range patterns {
		found, _ := filepath.Glob(w.path(p))
		all = append(all, found...)
	}
	slices.Sort(all)
	for _, f := range all {
		info, err := os.Lstat(f)
		if err != nil {
			w.t.Fatal(err)
		}
		if target, err := os.Readlink(f); err == nil {
			fmt.Fprintf(&w.out, "%s -> %s\n", f, target)
			continue
		}
		fmt.Fprintf(&w.out, "%s %s\n", f, info.Mode())
	}
}
