package verbs

import (
	"strings"
	"unicode/utf8"
)

// table is columns of text, each as wide as its widest cell, one space between them. The last column is not filled up.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// lines formats the rows; the head is the first of them if wanted. A colour is no part of a cell's width.
func (t *table) lines(head bool) []string {
	rows := t.rows
	if head {
		rows = append([][]string{t.head}, rows...)
	}
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	var all []string
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-width(cell)+1))
			}
		}
		all = append(all, b.String())
	}
	return all
}

// printTable prints a table, with its head if wanted.
func (c *call) printTable(t table, head bool) {
	for _, line := range t.lines(head) {
		c.printf("%s\n", line)
	}
}

// width counts characters without escape sequences.
func width(s string) int {
	n := 0
	for s != "" {
		if strings.HasPrefix(s, "\x1b[") {
			if end := strings.IndexByte(s, 'm'); end > 0 {
				s = s[end+1:]
				continue
			}
		}
		_, size := utf8.DecodeRuneInString(s)
		s, n = s[size:], n+1
	}
	return n
}
