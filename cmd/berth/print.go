package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON writes v for scripts.
func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable writes rows for people. Columns that are empty in every row are left out, unless they stand in keep.
func (c *cli) printTable(head []string, rows [][]string, optional ...string) error {
	hidden := make(map[int]bool)
	for i, name := range head {
		for _, o := range optional {
			hidden[i] = hidden[i] || o == name
		}
		for _, row := range rows {
			if row[i] != "" {
				hidden[i] = false
			}
		}
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, 0, len(row))
		for i, cell := range row {
			if hidden[i] {
				continue
			}
			if cell == "" {
				cell = "-"
			}
			cells = append(cells, printable(cell)) // names of files and words of agents come from elsewhere
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	return w.Flush()
}

// say writes a message for people.
func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.err, format+"\n", args...) }

// shortDuration is a span in its largest unit: "7s", "12m", "5h", "3d".
func shortDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// shortBytes is a size in MiB or GiB.
func shortBytes(mib float64) string {
	if mib >= 10*1024 {
		return fmt.Sprintf("%.1fG", mib/1024)
	}
	return fmt.Sprintf("%.0fM", mib)
}

// since is the time from a timestamp of the API to another of the same clock.
func since(then, now string) (time.Duration, bool) {
	a, err := time.Parse(time.RFC3339Nano, then)
	if err != nil {
		return 0, false
	}
	b, err := time.Parse(time.RFC3339Nano, now)
	return b.Sub(a), err == nil
}
