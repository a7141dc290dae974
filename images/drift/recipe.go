package drift

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// RecipePath is where an image that was made of an instance says what it is made of.
const RecipePath = "/usr/share/berth/recipe.md"

// The labels of an image that was made of an instance.
const (
	LabelOf       = "berth.recipe.instance"
	LabelFrom     = "berth.recipe.from"
	LabelFromID   = "berth.recipe.from-id"
	LabelBy       = "berth.recipe.by"
	LabelAt       = "berth.recipe.at"
	LabelMessage  = "berth.recipe.message"
	LabelPackages = "berth.recipe.packages"
	LabelFiles    = "berth.recipe.files"
)

// maxLabel bounds a label: the recipe itself has everything.
const maxLabel = 2000

// Recipe is what an image is made of, beside the drift.
type Recipe struct {
	Image    string // its name
	Instance string // APP.N
	From     string // the image that the instance was started from, as its app calls it
	FromID   string // its digest in a registry, or its id
	By       string
	At       time.Time
	Message  string
	LeftOut  map[string]string // path -> why it is not in the image
	Earlier  string            // the recipe of the image before
}

// Labels are the recipe in short. Empty ones are among them, as those of an image below would show through.
func (r Recipe) Labels(d Drift) map[string]string {
	var packages []string
	for _, p := range d.Packages {
		if !p.Auto {
			packages = append(packages, p.short())
		}
	}
	out := map[string]string{
		LabelOf: r.Instance, LabelFrom: r.From, LabelFromID: r.FromID, LabelBy: r.By, LabelAt: r.At.UTC().Format(time.RFC3339),
		LabelMessage: r.Message, LabelPackages: strings.Join(packages, " "), LabelFiles: strconv.Itoa(len(d.Files)),
	}
	for k, v := range out {
		if len(v) > maxLabel {
			out[k] = strings.ToValidUTF8(v[:maxLabel], "") + "..."
		}
	}
	return out
}

// short is "+nginx=1.22-1", "-nano", "openssl=3.0.1->3.0.2".
func (p PackageChange) short() string {
	switch p.Kind {
	case Installed:
		return "+" + p.Name + "=" + p.To
	case Removed:
		return "-" + p.Name
	}
	return p.Name + "=" + p.From + "->" + p.To
}

// Words is a package's change in a sentence without its name.
func (p PackageChange) Words() string {
	switch p.Kind {
	case Installed:
		return "installed " + p.To
	case Removed:
		return "removed " + p.From
	}
	return string(p.Kind) + " " + p.From + " -> " + p.To
}

// Text is the recipe for people.
func (r Recipe) Text(d Drift) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", r.Image)
	fmt.Fprintf(&b, "Made of the instance %s by %s, %s.\n", r.Instance, r.By, r.At.UTC().Format("2 January 2006 15:04 UTC"))
	fmt.Fprintf(&b, "It was started from %s (%s).\n", r.From, r.FromID)
	if r.Message != "" {
		fmt.Fprintf(&b, "\n%s\n", r.Message)
	}
	writePackages(&b, d.Packages)
	writeList(&b, "Services", d.Services, func(s ServiceChange) string { return s.Name + ": " + string(s.Kind) })
	writeList(&b, "Accounts", d.Accounts, func(a AccountChange) string { return a.What + " " + a.Name + ": " + string(a.Kind) })
	for _, part := range []struct {
		class Class
		title string
	}{
		{Conffile, "Configuration of packages, edited"}, {Altered, "Files of packages, changed"}, {ByHand, "Files by hand"}, {Data, "Data that packages' programs made"},
	} {
		files := slices.DeleteFunc(slices.Clone(d.Files), func(f File) bool { return f.Class != part.class || r.LeftOut[f.Path] != "" })
		rows := Rows(files, 50)
		if part.class == Data {
			rows = Rows(files, 1)
		}
		writeList(&b, part.title, rows, func(row Row) string { return row.Words() })
	}
	if len(r.LeftOut) > 0 {
		writeList(&b, "Left out", slices.Sorted(maps.Keys(r.LeftOut)), func(file string) string { return "`" + file + "`: " + r.LeftOut[file] })
	}
	r.describe(&b, d)
	if r.Earlier != "" {
		fmt.Fprintf(&b, "\n---\n\nThe image before:\n\n%s", r.Earlier)
	}
	return b.String()
}

// describe is what of the image can be built anew from a berth.yaml: its packages. Files by hand have to be fetched from the image, and
// packages of the other format than the image below has named by where they are.
func (r Recipe) describe(b *strings.Builder, d Drift) {
	name, tag, _ := strings.Cut(r.Image[strings.LastIndexByte(r.Image, '/')+1:], ":")
	fmt.Fprintf(b, "\n## To build it anew\n\nA berth.yaml for the packages; the files by hand are in the image.\n\n```yaml\nname: %s\nversion: %s\nbase: %s\n",
		quoted(name), quoted(tag), quoted(r.From))
	var packages, rpms, gone []string
	for _, p := range d.Packages {
		switch {
		case p.Kind == Removed:
			gone = append(gone, p.Name)
		case p.Auto:
		case p.Format == RPM:
			rpms = append(rpms, p.Name+"-"+p.To)
		default:
			packages = append(packages, p.Name+"="+p.To)
		}
	}
	if len(packages) > 0 {
		b.WriteString("packages:\n")
	}
	for _, p := range packages {
		fmt.Fprintf(b, "  - %s\n", quoted(p))
	}
	if len(rpms) > 0 {
		fmt.Fprintf(b, "# RPMs: %s\n", strings.Join(rpms, " "))
	}
	if len(gone) > 0 {
		fmt.Fprintf(b, "# removed: %s\n", strings.Join(gone, " "))
	}
	b.WriteString("```\n")
}

// quoted is a string as YAML and JSON have it.
func quoted(s string) string { return strconv.Quote(s) }

// Words is a row in a line.
func (row Row) Words() string {
	text := "`" + row.Path + "`"
	if row.Files > 0 {
		text = fmt.Sprintf("`%s/` with %d files and folders", row.Path, row.Files)
	}
	text += ": " + string(row.Kind)
	if len(row.Packages) > 0 {
		text += " (" + row.Of() + ")"
	}
	return text
}

// Of names the packages whose the file is, without their format.
func (f File) Of() string {
	names := make([]string, 0, len(f.Packages))
	for _, p := range f.Packages {
		_, name, _ := strings.Cut(p, ":")
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func writePackages(b *strings.Builder, packages []PackageChange) {
	var auto []string
	asked := slices.DeleteFunc(slices.Clone(packages), func(p PackageChange) bool {
		if p.Auto && p.Kind == Installed {
			auto = append(auto, p.Name+" "+p.To)
			return true
		}
		return false
	})
	writeList(b, "Packages", asked, func(p PackageChange) string { return p.Name + " (" + p.Format + "): " + p.Words() })
	if len(auto) > 0 {
		fmt.Fprintf(b, "\nInstalled because they need them: %s.\n", plain(strings.Join(auto, ", ")))
	}
}

func writeList[T any](b *strings.Builder, title string, list []T, line func(T) string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, x := range list {
		fmt.Fprintf(b, "- %s\n", plain(line(x)))
	}
}

// plain is a text in one line that a terminal only shows: a file may have any name.
func plain(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	return strings.Trim(strconv.Quote(text), `"`)
}
