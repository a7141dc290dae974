package drift

import (
	"bufio"
	"slices"
	"strconv"
	"strings"
)

// Package is one that is installed.
type Package struct {
	Name, Version, Arch string
	Format              string // deb or rpm
	Auto                bool   // another package needed it
}

// key is a package without its version.
func (p Package) key() Package { return Package{Name: p.Name, Arch: p.Arch, Format: p.Format} }

// The formats of packages.
const (
	Deb = "deb"
	RPM = "rpm"
)

// maxLine bounds a line of a package database.
const maxLine = 1 << 20

// Status reads dpkg's database (/var/lib/dpkg/status): the packages whose files are there; the owners are told of
// their configuration files. Lines that it does not understand are passed over, as dpkg's own tools do.
func Status(text string, owners *Owners) (packages []Package) {
	for stanza := range stanzas(text) {
		p := Package{Name: stanza["Package"], Version: stanza["Version"], Arch: stanza["Architecture"], Format: Deb}
		state := strings.Fields(stanza["Status"])
		if p.Name == "" || len(state) != 3 || state[2] == "config-files" || state[2] == "not-installed" {
			continue
		}
		packages = append(packages, p)
		for line := range strings.Lines(stanza["Conffiles"]) {
			if words := strings.Fields(line); len(words) > 0 && !slices.Contains(words, "obsolete") && !slices.Contains(words, "remove-on-upgrade") {
				owners.AddConffile(Deb, p.Name, words[0])
			}
		}
	}
	return packages
}

// stanzas are the paragraphs of a control file (deb822): fields by name, lines that continue one joined by newlines.
func stanzas(text string) func(yield func(map[string]string) bool) {
	return func(yield func(map[string]string) bool) {
		fields, last := map[string]string{}, ""
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			switch {
			case strings.TrimSpace(line) == "":
				if len(fields) > 0 && !yield(fields) {
					return
				}
				fields, last = map[string]string{}, ""
			case line[0] == ' ' || line[0] == '\t':
				if last != "" {
					fields[last] += "\n" + strings.TrimSpace(line)
				}
			default:
				name, value, found := strings.Cut(line, ":")
				if !found {
					continue
				}
				last = name
				fields[name] = strings.TrimSpace(value)
			}
		}
		if len(fields) > 0 {
			yield(fields)
		}
	}
}

// MarkAuto notes which packages nobody asked for, by apt's list of them (/var/lib/apt/extended_states).
func MarkAuto(packages []Package, text string) {
	auto := map[string]bool{}
	for s := range stanzas(text) {
		if s["Auto-Installed"] == "1" {
			auto[s["Package"]] = true
		}
	}
	for i := range packages {
		if packages[i].Format == Deb {
			packages[i].Auto = auto[packages[i].Name]
		}
	}
}

// RPMQuery is the format in which rpm is asked for its packages (rpm -qa --qf): a line for each package, and one for each of
// its files.
const RPMQuery = `P\t%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{ARCH}\n[F\t%{=NAME}\t%{FILEFLAGS:fflags}\t%{FILENAMES}\n]`

// ReadRPM reads rpm's answer to RPMQuery and adds the owners of files.
func ReadRPM(scan *bufio.Scanner, owners *Owners) ([]Package, error) {
	scan.Buffer(nil, maxLine)
	var out []Package
	for scan.Scan() {
		words := strings.SplitN(scan.Text(), "\t", 4)
		switch {
		case len(words) != 4 || words[1] == "gpg-pubkey": // a key that rpm keeps among its packages
		case words[0] == "P":
			out = append(out, Package{Name: words[1], Version: strings.TrimPrefix(words[2], "0:"), Arch: strings.TrimPrefix(words[3], "(none)"), Format: RPM})
		case words[0] == "F":
			owners.Add(RPM, words[1], words[3])
			if strings.Contains(words[2], "c") {
				owners.AddConffile(RPM, words[1], words[3])
			}
		}
	}
	return out, scan.Err()
}

// Owners say which packages the changed paths belong to, in the image or in the instance.
type Owners struct {
	wanted    map[string]bool
	by        map[string][]string
	conffiles map[string]string // all, with their package
	diverted  map[string]string
}

// NewOwners are to be told of all packages' files; they keep what the changes need.
func NewOwners(changes []Change) *Owners {
	o := &Owners{wanted: map[string]bool{}, by: map[string][]string{}, conffiles: map[string]string{}, diverted: map[string]string{}}
	parents := folders(changes)
	for _, c := range changes {
		o.wanted[canonical(c.Path)] = true
	}
	for dir := range parents {
		o.wanted[canonical(dir)] = true
	}
	return o
}

// Divert takes in dpkg's diversions (/var/lib/dpkg/diversions): three lines each, a path, where its files go instead, and
// the package whose own file stays. It must be called before Add.
func (o *Owners) Divert(text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i+2 < len(lines); i += 3 {
		o.diverted[canonical(lines[i])] = lines[i+1]
	}
}

// Add says that a file is a package's.
func (o *Owners) Add(format, name, file string) {
	for _, at := range []string{canonical(file), canonical(o.diverted[canonical(file)])} {
		if owner := format + ":" + name; o.wanted[at] && !slices.Contains(o.by[at], owner) {
			o.by[at] = append(o.by[at], owner)
			slices.Sort(o.by[at])
		}
	}
}

// AddConffile says that a file is a package's configuration.
func (o *Owners) AddConffile(format, name, file string) {
	o.conffiles[canonical(file)] = format + ":" + name
}

// Packages are the packages of a format that own something that changed, sorted.
func (o *Owners) Packages(format string, changes []Change) []string {
	var out []string
	for _, c := range changes {
		for _, p := range o.by[canonical(c.Path)] {
			if name, ok := strings.CutPrefix(p, format+":"); ok {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (o *Owners) of(at string) []string {
	if o == nil {
		return nil
	}
	return o.by[at]
}

// conffileOf is the package whose configuration a file is; "": it is none.
func (o *Owners) conffileOf(file string) string {
	if o == nil {
		return ""
	}
	return o.conffiles[canonical(file)]
}

// canonical is where a path really is on a machine whose /bin, /lib and /sbin are links into /usr: packages name either.
func canonical(file string) string {
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if rest, ok := strings.CutPrefix(file, dir); ok && strings.HasPrefix(rest, "/") {
			return "/usr" + file
		}
	}
	return file
}

// Finding is a file that is not as its package has it, as the package's own tool tells.
type Finding struct {
	Path     string
	Conffile bool
	Missing  bool
}

// ReadFindings reads what `dpkg --verify` and `rpm --verify` print: a mask of what differs or "missing", a letter for
// configuration, the path. What rpm finds in a file's time alone is no difference.
func ReadFindings(text string) []Finding {
	var out []Finding
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		mask, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		f := Finding{Missing: mask == "missing"}
		if len(rest) > 1 && rest[1] == ' ' {
			f.Conffile = rest[0] == 'c'
			rest = strings.TrimSpace(rest[1:])
		}
		if f.Missing { // dpkg adds the reason
			rest, _, _ = strings.Cut(rest, " (")
		}
		if f.Path = rest; !strings.HasPrefix(rest, "/") || !f.Missing && (len(mask) < 8 || !strings.ContainsAny(mask, "SM5DLUGPC")) {
			continue
		}
		out = append(out, f)
	}
	return out
}

// compareVersions orders two versions as dpkg does (deb-version(7)), which is also right for what rpms are called in
// practice.
func compareVersions(a, b string) int {
	ea, ra := epoch(a)
	eb, rb := epoch(b)
	if ea != eb {
		return ea - eb
	}
	ua, da := revision(ra)
	ub, db := revision(rb)
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(da, db)
}

func epoch(v string) (int, string) {
	if head, rest, ok := strings.Cut(v, ":"); ok {
		if n, err := strconv.Atoi(head); err == nil {
			return n, rest
		}
	}
	return 0, v
}

func revision(v string) (upstream, rev string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// comparePart compares runs of other characters and of digits in turns; "~" is before everything, even the end.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if c := weight(a) - weight(b); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var na, nb string
		na, a = number(a)
		nb, b = number(b)
		if len(na) != len(nb) {
			return len(na) - len(nb)
		}
		if c := strings.Compare(na, nb); c != 0 {
			return c
		}
	}
	return 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// weight orders a string's first character: "~", then the end and digits, then letters, then all others.
func weight(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

// number is the digits that a string begins with, without leading zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}
