// Command table reads what `go test -bench` prints and shows it as a table: of each benchmark the best of its runs, the one that the
// machine disturbed least, and beside it what aims.txt asks of it. It ends with 1 when something was missed.
package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

//go:embed aims.txt
var aims string

func main() {
	missed, err := show(os.Stdin, os.Stdout, aims)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench table:", err)
		os.Exit(1)
	case missed > 0:
		fmt.Fprintf(os.Stderr, "%d of the aims are missed\n", missed)
		os.Exit(1)
	}
}

// figures are of one benchmark: every run's, by unit.
type figures map[string][]float64

// best is the largest of rates, and the least of everything else.
func (f figures) best(unit string) float64 {
	if strings.Contains(unit, "/s") {
		return slices.Max(f[unit])
	}
	return slices.Min(f[unit])
}

// show prints the table and says how many aims were missed. Lines that are no figures are printed as they are.
func show(in io.Reader, out io.Writer, aims string) (missed int, err error) {
	all, names, err := read(in, out)
	if err != nil {
		return 0, err
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range names {
		units := slices.Sorted(maps.Keys(all[name]))
		var cells []string
		for _, unit := range units {
			cells = append(cells, number(all[name].best(unit))+" "+unit)
		}
		var verdicts []string
		for aim := range strings.Lines(aims) {
			if words := strings.Fields(aim); len(words) > 0 && words[0] == name {
				text, ok, err := judge(words, all)
				if err != nil {
					return 0, fmt.Errorf("aim %q: %w", strings.TrimSpace(aim), err)
				}
				if !ok {
					missed++
				}
				verdicts = append(verdicts, text)
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", strings.TrimPrefix(name, "Benchmark"), strings.Join(cells, "\t"), strings.Join(verdicts, "; "))
	}
	return missed, tw.Flush()
}

// processors is what go test adds to a name.
var processors = regexp.MustCompile(`-\d+$`)

func read(in io.Reader, out io.Writer) (all map[string]figures, names []string, err error) {
	all = map[string]figures{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		name := processors.ReplaceAllString(words[0], "")
		if all[name] == nil {
			all[name] = figures{}
			names = append(names, name)
		}
		for i := 2; i+1 < len(words); i += 2 { // words[1] is how often it ran
			x, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return nil, nil, fmt.Errorf("read %q: %w", lines.Text(), err)
			}
			all[name][words[i+1]] = append(all[name][words[i+1]], x)
		}
	}
	return all, names, lines.Err()
}

// judge holds a figure against its aim.
func judge(aim []string, all map[string]figures) (text string, ok bool, err error) {
	if len(aim) < 4 {
		return "", false, fmt.Errorf("too few words")
	}
	unit := aim[1]
	limit, err := strconv.ParseFloat(aim[3], 64)
	if err != nil {
		return "", false, err
	}
	if all[aim[0]][unit] == nil {
		return "", false, fmt.Errorf("there is no such figure")
	}
	got, note := all[aim[0]].best(unit), ""
	if len(aim) > 4 {
		other := all[aim[4]]
		if other[unit] == nil {
			return "(" + aim[4] + " did not run)", true, nil
		}
		note = fmt.Sprintf(" x %s, is %.2f", strings.TrimPrefix(aim[4], "Benchmark"), got/other.best(unit))
		limit *= other.best(unit)
	}
	switch aim[2] {
	case ">=":
		ok = got >= limit
	case "<=":
		ok = got <= limit
	default:
		return "", false, fmt.Errorf("%s is neither >= nor <=", aim[2])
	}
	verdict := "ok"
	if !ok {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%s: %s %s%s", verdict, aim[2], aim[3], note), ok, nil
}

// number leaves out what is beneath notice.
func number(x float64) string {
	if x >= 1000 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}
