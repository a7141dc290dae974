package unit

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func plain(w string) (string, error) { return strings.ReplaceAll(w, "%i", "an instance"), nil }

func TestExec(t *testing.T) {
	run := func(args ...string) Command { return Command{Path: args[0], Args: args} }
	with := func(c Command, f func(*Command)) Command { f(&c); return c }
	for _, tc := range []struct {
		line string
		want []Command
	}{
		{"/bin/a b  c", []Command{run("/bin/a", "b", "c")}},
		{"a b", []Command{run("a", "b")}},
		{"/usr//bin/../bin/a", []Command{run("/usr/bin/a")}},
		{`/bin/a "b c" 'd "e"' f"g"h`, []Command{run("/bin/a", "b c", `d "e"`, "fgh")}},
		{`/bin/a \x41\101\u00e4\n\s\\ \q`, []Command{run("/bin/a", "AAä\n \\", `\q`)}},
		{`/bin/a ""`, []Command{run("/bin/a", "")}},
		{"/bin/a %i", []Command{run("/bin/a", "an instance")}},
		{"/bin/a ; /bin/b c", []Command{run("/bin/a"), run("/bin/b", "c")}},
		{`/bin/a \; ";" b;`, []Command{run("/bin/a", ";", ";", "b;")}},
		{"/bin/a ;", []Command{run("/bin/a")}},
		{"-/bin/a", []Command{with(run("/bin/a"), func(c *Command) { c.IgnoreFailure = true })}},
		{"-:/bin/a $B", []Command{with(run("/bin/a", "$B"), func(c *Command) { c.IgnoreFailure, c.Literal = true, true })}},
		{"!!/bin/a", []Command{with(run("/bin/a"), func(c *Command) { c.FullPrivilege = true })}},
		{"+-/bin/a", []Command{with(run("/bin/a"), func(c *Command) { c.FullPrivilege, c.IgnoreFailure = true, true })}},
		{"@/bin/a me b", []Command{{Path: "/bin/a", Args: []string{"me", "b"}, Argv0: true}}},
		{"/bin/a ; -/bin/b", []Command{run("/bin/a"), with(run("/bin/b"), func(c *Command) { c.IgnoreFailure = true })}},
	} {
		t.Run(tc.line, func(t *testing.T) {
			if got, err := parseExec(tc.line, plain); err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, tc.want)
			}
		})
	}
	for _, line := range []string{"--/bin/a", "+!/bin/a", "!!!/bin/a", `"`, `/bin/a \`, "@", "''"} {
		_, err := parseExec(line, plain)
		var fatal badSetting
		if err == nil || line[0] != '-' && !errors.As(err, &fatal) {
			t.Errorf("%s: accepted, or not refused with the unit: %v", line, err)
		}
	}
}

func TestExpand(t *testing.T) {
	env := []string{"A=one two", "B=x", "Q='a b' c", "EMPTY=", "A=last two"}
	for _, tc := range []struct {
		args, want []string
	}{
		{[]string{"$A"}, []string{"last", "two"}},
		{[]string{"${A}"}, []string{"last two"}},
		{[]string{"-${B}-${B}"}, []string{"-x-x"}},
		{[]string{"-$B"}, []string{"-$B"}},
		{[]string{"$$B", "a$$b"}, []string{"$B", "a$b"}},
		{[]string{"x", "$NONE", "${NONE}", "$EMPTY"}, []string{"x", ""}},
		{[]string{"$Q"}, []string{"a b", "c"}},
		{[]string{"a$", "${B"}, []string{"a$", "${B"}},
	} {
		if got, err := Expand(Command{Args: tc.args}, env); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: got %q, %v, want %q", tc.args, got, err, tc.want)
		}
	}
	if got, _ := Expand(Command{Args: []string{"$A"}, Literal: true}, env); got[0] != "$A" {
		t.Errorf("a literal command: %q", got)
	}
	if _, err := Expand(Command{Path: "/bin/x", Args: []string{"$NONE"}}, env); err == nil {
		t.Error("a command of which nothing is left is run")
	}
}

func TestParseEnvironmentFile(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"plain", "A=b\nC=d e \n", []string{"A=b", "C=d e"}},
		{"comments", "# x=y\n;z=1\nA=b # c\n", []string{"A=b # c"}},
		{"a comment that goes on", "# x\\\nA=b\nC=d", []string{"C=d"}},
		{"quotes", `A="b c"` + "\nB='$d \\e'\n", []string{"A=b c", `B=$d \e`}},
		{"pieces", `A="b"'c'd` + "\n", []string{"A=bcd"}},
		{"a quote inside", `A=b"c"` + "\n", []string{`A=b"c"`}},
		{"escapes", `A="\$x \n \\"` + "\nB=a\\ b\\\n  c\n", []string{`A=$x \n \`, "B=a b  c"}},
		{"several lines in quotes", "A='b\nc'\n", []string{"A=b\nc"}},
		{"empty", "A=\nB=''\n", []string{"A=", "B="}},
		{"the last counts", "A=1\nA=2\n", []string{"A=2"}},
		{"no names", "1A=b\nexport B=c\n=d\nnothing\nC=e", []string{"C=e"}},
		{"blanks", " A = b\n", []string{"A=b"}},
		{"carriage returns", "A=b\r\nC=d\r\n", []string{"A=b", "C=d"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ParseEnvironmentFile(tc.text); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
