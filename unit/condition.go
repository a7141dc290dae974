package unit

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Facts are what conditions ask for.
type Facts struct {
	Files          fs.FS                  // the machine's root
	MountPoint     func(path string) bool // nil: nothing is one
	Writable       func(path string) bool // whether its file system is; nil: all are
	Virtualization []string               // all words that are true: "container", "docker"
	Architecture   string                 // systemd's word
	Hostname       string
	MachineID      string
	KernelRelease  string
	CommandLine    string   // the kernel's, or PID 1's in a container, as systemd has it
	Environment    []string // of the manager
	Capabilities   []string // the bounding set: "CAP_NET_ADMIN"
	Memory         uint64
	CPUs           int
}

// pathTests are the conditions whose value is a path.
var pathTests = []string{
	"PathExists", "PathExistsGlob", "PathIsDirectory", "PathIsSymbolicLink", "PathIsMountPoint", "PathIsReadWrite", "PathIsEncrypted",
	"DirectoryNotEmpty", "FileNotEmpty", "FileIsExecutable", "NeedsUpdate",
}

var otherTests = []string{
	"Architecture", "Firmware", "Virtualization", "Host", "KernelCommandLine", "KernelVersion", "Credential", "Environment", "Security",
	"Capability", "ACPower", "FirstBoot", "User", "Group", "ControlGroupController", "Memory", "CPUs", "CPUFeature", "OSRelease",
	"MemoryPressure", "CPUPressure", "IOPressure",
}

func pathTest(test string) bool { return slices.Contains(pathTests, test) }

func knownTest(test string) bool { return pathTest(test) || slices.Contains(otherTests, test) }

// String is the line that has the condition: "ConditionPathExists=!/etc/x".
func (c Condition) String() string {
	word, value := "Condition", c.Value
	if c.Assert {
		word = "Assert"
	}
	if c.Negate {
		value = "!" + value
	}
	if c.Trigger {
		value = "|" + value
	}
	return word + c.Test + "=" + value
}

// Unmet finds the condition that keeps a unit from being started: one that does not hold, or the last of those of which one would have to. Asserts
// come first, as systemd fails for them before it skips for conditions.
func (f *Facts) Unmet(all []Condition) (Condition, bool) {
	for _, assert := range []bool{true, false} {
		var triggers []Condition
		triggered := false
		for _, c := range all {
			switch {
			case c.Assert != assert:
			case c.Trigger:
				triggers = append(triggers, c)
				triggered = triggered || f.holds(c)
			case !f.holds(c):
				return c, true
			}
		}
		if len(triggers) > 0 && !triggered {
			return triggers[len(triggers)-1], true
		}
	}
	return Condition{}, false
}

func (f *Facts) holds(c Condition) bool {
	if pathTest(c.Test) {
		return f.pathHolds(c.Test, c.Value) != c.Negate
	}
	return f.machineHolds(c.Test, c.Value) != c.Negate
}

func (f *Facts) pathHolds(test, p string) bool {
	files := tree{fs: f.Files, dirs: map[string]string{}}
	info, err := files.stat(p)
	switch test {
	case "PathExistsGlob":
		return slices.ContainsFunc(braces(p), func(pattern string) bool { return files.matches("/", pattern) })
	case "PathIsSymbolicLink":
		_, ok := files.readLink(p)
		return ok
	case "PathIsMountPoint":
		return err == nil && f.MountPoint != nil && f.MountPoint(p)
	case "PathIsEncrypted", "NeedsUpdate":
		return false // a container's files lie on the host's disk and come with its image
	}
	if err != nil {
		return false
	}
	switch test {
	case "PathIsDirectory":
		return info.IsDir()
	case "PathIsReadWrite":
		return f.Writable == nil || f.Writable(p)
	case "DirectoryNotEmpty":
		return info.IsDir() && len(files.readDir(p)) > 0
	case "FileNotEmpty":
		return info.Mode().IsRegular() && info.Size() > 0
	case "FileIsExecutable":
		return info.Mode().IsRegular() && info.Mode()&0o111 != 0
	}
	return true
}

// matches says whether a pattern fits some path. Hidden names want a dot in the pattern.
func (t *tree) matches(dir, pattern string) bool {
	first, rest, more := strings.Cut(strings.TrimLeft(pattern, "/"), "/")
	if first == "" {
		return true
	}
	if !strings.ContainsAny(first, `*?[\`) {
		next := path.Join(dir, first)
		return t.exists(next) && (!more || t.matches(next, rest))
	}
	return slices.ContainsFunc(t.readDir(dir), func(e fs.DirEntry) bool {
		ok, err := path.Match(first, e.Name())
		if err != nil || !ok || strings.HasPrefix(e.Name(), ".") && first[0] != '.' {
			return false
		}
		return !more || t.matches(path.Join(dir, e.Name()), rest)
	})
}

// maxBraces bounds what one pattern may grow to.
const maxBraces = 1000

// braces makes all patterns of "{a,b}", as glob(3)'s GLOB_BRACE does.
func braces(pattern string) []string {
	done, todo := []string{}, []string{pattern}
	for len(todo) > 0 && len(done)+len(todo) < maxBraces {
		p := todo[0]
		todo = todo[1:]
		open, end, commas := group(p)
		if end < 0 {
			done = append(done, p)
			continue
		}
		from := open + 1
		for _, at := range append(commas, end) {
			todo = append(todo, p[:open]+p[from:at]+p[end+1:])
			from = at + 1
		}
	}
	return append(done, todo...)
}

// group finds the first "{...}" and the commas of its own level.
func group(p string) (open, end int, commas []int) {
	depth := 0
	for i := range len(p) {
		switch p[i] {
		case '{':
			if depth++; depth == 1 {
				open, commas = i, nil
			}
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth--; depth == 0 {
				return open, i, commas
			}
			depth = max(depth, 0)
		}
	}
	return 0, -1, nil
}

func (f *Facts) machineHolds(test, v string) bool {
	switch test {
	case "Virtualization":
		if yes, err := ParseBool(v); err == nil {
			return yes == (len(f.Virtualization) > 0)
		}
		return slices.Contains(f.Virtualization, v)
	case "Architecture":
		return v == "native" || v == f.Architecture
	case "Host":
		ok, _ := path.Match(v, f.Hostname)
		return ok || strings.ReplaceAll(v, "-", "") == f.MachineID
	case "KernelCommandLine":
		return slices.ContainsFunc(strings.Fields(f.CommandLine), func(w string) bool {
			return w == v || !strings.Contains(v, "=") && strings.HasPrefix(w, v+"=")
		})
	case "KernelVersion":
		return f.kernelHolds(v)
	case "Environment":
		return slices.ContainsFunc(f.Environment, func(e string) bool {
			return e == v || !strings.Contains(v, "=") && strings.HasPrefix(e, v+"=")
		})
	case "Capability":
		return slices.Contains(f.Capabilities, strings.ToUpper(v))
	case "User":
		return slices.Contains([]string{"root", "0", "@system"}, v)
	case "Group":
		return v == "root" || v == "0"
	case "Memory":
		order, operand := operator(v, ">=")
		n, err := parseSize(operand)
		return err == nil && compares(order, cmp.Compare(f.Memory, n))
	case "CPUs":
		order, operand := operator(v, ">=")
		n, err := strconv.Atoi(operand)
		return err == nil && compares(order, cmp.Compare(f.CPUs, n))
	case "OSRelease":
		return f.releaseHolds(v)
	case "ACPower":
		yes, err := ParseBool(v)
		return err == nil && yes
	case "FirstBoot":
		yes, err := ParseBool(v)
		return err == nil && !yes
	case "MemoryPressure", "CPUPressure", "IOPressure":
		return true // what cannot be measured is not too high, says systemd
	}
	return false // Security, Firmware, Credential, CPUFeature, ControlGroupController: nothing that a container could have
}

var operators = []string{"<=", ">=", "!=", "<>", "==", "<", ">", "="}

// operator cuts the comparison from the front of a condition's value.
func operator(v, without string) (op, operand string) {
	for _, o := range operators {
		if rest, ok := strings.CutPrefix(v, o); ok {
			return o, strings.TrimSpace(rest)
		}
	}
	return without, strings.TrimSpace(v)
}

func compares(op string, order int) bool {
	switch op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "!=", "<>":
		return order != 0
	}
	return order == 0
}

// kernelHolds takes a list of versions that all have to fit; one without an operator is a pattern.
func (f *Facts) kernelHolds(v string) bool {
	all := strings.Fields(v)
	for i := 0; i < len(all); i++ {
		op, operand := operator(all[i], "")
		if operand == "" && i+1 < len(all) {
			i++
			operand = all[i]
		}
		if op == "" {
			if ok, _ := path.Match(operand, f.KernelRelease); !ok {
				return false
			}
		} else if !compares(op, compareVersions(f.KernelRelease, operand)) {
			return false
		}
	}
	return len(all) > 0
}

// compareVersions compares numbers as numbers and the rest as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := piece(a)
		y, restB := piece(b)
		n, err1 := strconv.Atoi(x)
		m, err2 := strconv.Atoi(y)
		order := strings.Compare(x, y)
		if err1 == nil && err2 == nil {
			order = cmp.Compare(n, m)
		}
		if order != 0 {
			return order
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

// piece takes the number, or what is no number, from the front.
func piece(s string) (first, rest string) {
	number := unicode.IsDigit(rune(s[0]))
	for i, r := range s {
		if unicode.IsDigit(r) != number {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// releaseHolds takes assignments of os-release that all have to fit.
func (f *Facts) releaseHolds(v string) bool {
	set := Set{tree: tree{fs: f.Files, dirs: map[string]string{}}}
	release := set.osRelease()
	all, err := words(v, unescape)
	for _, w := range all {
		at := strings.IndexAny(w, "<>=!")
		if at < 0 {
			return false
		}
		op, operand := operator(w[at:], "=")
		if op == "=" {
			op = "=="
		}
		have := release[w[:at]]
		if op == "==" && have != operand || op != "==" && !compares(op, compareVersions(have, operand)) {
			return false
		}
	}
	return err == nil && len(all) > 0
}
