package verbs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is what /proc says of one. Times come in clock ticks, of which Linux tells programs 100 a second on all our architectures.
type process struct {
	pid, parent, threads int
	state                byte // 'Z' has ended and waits for its parent
	comm                 string
	args                 []string
	cpu                  time.Duration
	memory               uint64 // bytes; the share that is its own, where the kernel tells
}

const clockTick = time.Second / 100

// process reads one. ok is false if it has ended.
func (c *call) process(pid int) (p process, ok bool) {
	if p, ok = c.glance(pid); ok {
		p.memory = c.memory(c.path(fmt.Sprintf("/proc/%d/", pid)))
	}
	return p, ok
}

// glance is process without its memory, which the kernel has to walk through.
func (c *call) glance(pid int) (p process, ok bool) {
	dir := c.path(fmt.Sprintf("/proc/%d/", pid))
	stat, err := os.ReadFile(dir + "/stat")
	// The name is in brackets and may have some itself.
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if err != nil || open < 0 || end < open {
		return process{}, false
	}
	p = process{pid: pid, comm: string(stat[open+1 : end])}
	fields := strings.Fields(string(stat[end+1:]))
	number := func(i int) int {
		if i >= len(fields) {
			return 0
		}
		n, _ := strconv.Atoi(fields[i])
		return n
	}
	p.parent, p.threads = number(1), number(17)
	if len(fields) > 0 {
		p.state = fields[0][0]
	}
	p.cpu = time.Duration(number(11)+number(12)) * clockTick
	cmdline, _ := os.ReadFile(dir + "/cmdline")
	if text := strings.TrimRight(string(cmdline), "\x00"); text != "" {
		p.args = strings.Split(text, "\x00")
	}
	return p, true
}

// memory prefers the proportional share, as the resident size counts shared pages in every process.
func (c *call) memory(dir string) uint64 {
	if text, err := os.ReadFile(dir + "/smaps_rollup"); err == nil {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				return n << 10
			}
		}
	}
	text, _ := os.ReadFile(dir + "/statm")
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseUint(fields[1], 10, 64)
		return pages * uint64(os.Getpagesize())
	}
	return 0
}

// processes reads those that still live, main process first as given.
func (c *call) processes(pids []int) []process {
	var all []process
	for _, pid := range pids {
		if p, ok := c.process(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// shown is a command line for a reader.
func (p process) shown() string {
	if len(p.args) == 0 {
		return "[" + p.comm + "]"
	}
	var words []string
	for _, a := range p.args {
		words = append(words, quoteWord(printable(a)))
	}
	return strings.Join(words, " ")
}

// tree draws processes below a control group's line, by number, as systemd-cgls does.
func (c *call) tree(indent string, all []process) {
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	digits := 0
	for _, p := range all {
		digits = max(digits, len(strconv.Itoa(p.pid)))
	}
	for i, p := range all {
		branch := c.glyph("├─", "|-")
		if i == len(all)-1 {
			branch = c.glyph("└─", "`-")
		}
		c.printf("%s%s%*d %s\n", indent, branch, digits, p.pid, p.shown())
	}
}
