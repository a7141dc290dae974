// Package drift decides what was done to an instance by hand since it was made from its image. In: the paths in which the
// two differ, the package databases of both, what the packages' own checks say. Out: packages, services, accounts and
// files, each of them told once, and apart from them what needs no telling; and what of it belongs into an image that is
// made of the instance.
package drift

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Kind says what became of something.
type Kind string

// What can become of a path, a package, a service or an account.
const (
	Added      Kind = "added"
	Changed    Kind = "changed"
	Removed    Kind = "removed"
	Installed  Kind = "installed"
	Upgraded   Kind = "upgraded"
	Downgraded Kind = "downgraded"
	Enabled    Kind = "enabled"
	Disabled   Kind = "disabled"
)

// Change is one path in which an instance differs from its image, also a folder in which something changed.
type Change struct {
	Kind Kind
	Path string
}

// Class says how a path came to differ.
type Class string

// The classes of paths.
const (
	ByHand    Class = "hand"     // nothing explains it
	Conffile  Class = "conffile" // a package's configuration, edited or removed
	Altered   Class = "altered"  // another file of a package, which is not as the package has it
	OfPackage Class = "package"  // brought, changed or taken away with a package
	Data      Class = "data"     // below /var in a folder that a package brought
	Service   Class = "service"  // says which services start
	Account   Class = "account"  // says which users and groups there are
	Noise     Class = "noise"    // comes and goes with any running machine
)

// File is one path.
type File struct {
	Path     string   `json:"path"`
	Kind     Kind     `json:"kind"`
	Class    Class    `json:"class"`
	Packages []string `json:"packages,omitempty"` // whose it is
	Why      string   `json:"why,omitempty"`      // of noise: what it is
}

// PackageChange is one package that is not as in the image.
type PackageChange struct {
	Name   string `json:"name"`
	Format string `json:"format"` // deb or rpm
	Arch   string `json:"arch,omitempty"`
	Kind   Kind   `json:"kind"`
	From   string `json:"from,omitempty"` // versions
	To     string `json:"to,omitempty"`
	// Auto: nobody asked for it, another package needs it.
	Auto bool `json:"auto,omitempty"`
}

// ServiceChange is one service that starts with the instance, or no longer does.
type ServiceChange struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// Drift is everything in which an instance differs from its image.
type Drift struct {
	Packages []PackageChange `json:"packages"`
	Services []ServiceChange `json:"services"`
	Accounts []AccountChange `json:"accounts"`
	// Files are those that people should know of: of the classes hand, conffile, altered and data.
	Files []File `json:"files"`
	// Other are all others: of packages, services, accounts, and noise.
	Other []File `json:"other,omitempty"`
	// Unsure says what could not be looked at.
	Unsure []string `json:"unsure,omitempty"`
}

// Input is what a comparison goes by.
type Input struct {
	Changes       []Change
	Before, After []Package
	Owners        *Owners
	Findings      []Finding // of the packages that own something in Changes
	// Accounts are the texts of the account files by their path, of the image and of the instance. Those that are the same may
	// be left out of both.
	AccountsBefore, AccountsAfter map[string]string
	Mounts                        []string
	Unsure                        []string
}

// Compare tells in what an instance differs.
func Compare(in Input) Drift {
	d := Drift{Packages: comparePackages(in.Before, in.After), Accounts: compareAccounts(in.AccountsBefore, in.AccountsAfter), Unsure: slices.Clone(in.Unsure)}
	moved := map[string]bool{}
	for _, p := range d.Packages {
		moved[p.Format+":"+p.Name] = true
	}
	findings := map[string]Finding{}
	for _, f := range in.Findings {
		findings[canonical(f.Path)] = f
	}
	shown := map[string]bool{}
	parents := folders(in.Changes)
	var links []Change
	for _, c := range in.Changes {
		f := File{Path: c.Path, Kind: c.Kind}
		at := canonical(c.Path)
		finding, found := findings[at]
		if c.Kind == Changed && parents[c.Path] {
			continue // only because of what is in it
		}
		switch why, _ := noise(c.Path, in.Mounts); {
		case why != "":
			f.Class, f.Why = Noise, why
		case serviceLink(c.Path):
			f.Class = Service
			links = append(links, c)
		case accountFile(c.Path):
			f.Class = Account
		default:
			f.Packages = in.Owners.of(at)
			f.Class = classify(f, in.Owners, moved, finding, found)
			shown[at] = true
		}
		d.add(f)
	}
	for _, f := range in.Findings { // a new package's configuration that was removed is in no difference
		owner := in.Owners.conffileOf(f.Path)
		if why, _ := noise(f.Path, in.Mounts); f.Missing && moved[owner] && !shown[canonical(f.Path)] && why == "" {
			d.add(File{Path: f.Path, Kind: Removed, Class: Conffile, Packages: []string{owner}})
		}
	}
	d.Services = compareServices(links)
	for _, list := range [][]File{d.Files, d.Other} {
		slices.SortFunc(list, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	}
	return d
}

func (d *Drift) add(f File) {
	switch f.Class {
	case ByHand, Conffile, Altered, Data:
		d.Files = append(d.Files, f)
	default:
		d.Other = append(d.Other, f)
	}
}

// classify says how a path came to differ that is neither noise nor told in another way.
func classify(f File, owners *Owners, moved map[string]bool, finding Finding, found bool) Class {
	changes := slices.ContainsFunc(f.Packages, func(p string) bool { return moved[p] })
	conffile := found && finding.Conffile || owners.conffileOf(f.Path) != ""
	switch {
	case len(f.Packages) > 0 && found && !finding.Missing && conffile:
		return Conffile
	case len(f.Packages) > 0 && found && !finding.Missing:
		return Altered
	case changes:
		return OfPackage
	case len(f.Packages) > 0 && conffile:
		return Conffile
	case len(f.Packages) > 0:
		return Altered
	}
	if strings.HasPrefix(f.Path, "/var/") && f.Kind == Added {
		for dir := path.Dir(canonical(f.Path)); dir != "/var" && dir != "/"; dir = path.Dir(dir) {
			if slices.ContainsFunc(owners.of(dir), func(p string) bool { return moved[p] }) {
				return Data
			}
		}
	}
	return ByHand
}

// folders are the paths in which other changes are.
func folders(changes []Change) map[string]bool {
	out := map[string]bool{}
	for _, c := range changes {
		for dir := path.Dir(c.Path); dir != "/" && !out[dir]; dir = path.Dir(dir) {
			out[dir] = true
		}
	}
	return out
}

// Clean says that there is nothing that people should know of.
func (d Drift) Clean() bool {
	return len(d.Packages)+len(d.Services)+len(d.Accounts)+len(d.Files) == 0
}

// Count is how many of the other paths are noise, and how many are told in another way.
func (d Drift) Count() (noise, explained int) {
	for _, f := range d.Other {
		if f.Class == Noise {
			noise++
		} else {
			explained++
		}
	}
	return noise, explained
}

// Row is one line about files: one of them, or all below a folder that is new.
type Row struct {
	File
	Files int // below the folder; 0: it is a file of its own
}

// Rows are files for people: a new folder with more than few new files of the same class is one row, other
// new folders are none unless they are empty.
func Rows(files []File, few int) []Row {
	below := map[string]int{}
	class := map[string]Class{}
	for _, f := range files {
		if f.Kind == Added {
			class[f.Path] = f.Class
		}
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			below[dir]++
			if f.Kind != Added || class[dir] != f.Class {
				class[dir] = "" // a mixture, or an older folder
			}
		}
	}
	var out []Row
	folded := ""
	for _, f := range files {
		switch {
		case folded != "" && strings.HasPrefix(f.Path, folded):
		case f.Kind == Added && class[f.Path] == f.Class && below[f.Path] > few:
			folded = f.Path + "/"
			out = append(out, Row{f, below[f.Path]})
		case f.Kind == Added && below[f.Path] > 0: // what is in it says that it is there
		default:
			out = append(out, Row{File: f})
		}
	}
	return out
}

func comparePackages(before, after []Package) []PackageChange {
	was := map[Package]string{}
	for _, p := range before {
		was[p.key()] = p.Version
	}
	var out []PackageChange
	for _, p := range after {
		old, known := was[p.key()]
		delete(was, p.key())
		c := PackageChange{Name: p.Name, Format: p.Format, Arch: p.Arch, From: old, To: p.Version, Auto: p.Auto}
		switch order := compareVersions(old, p.Version); {
		case !known:
			c.Kind = Installed
		case old == p.Version:
			continue
		case order > 0:
			c.Kind = Downgraded
		default:
			c.Kind = Upgraded
		}
		out = append(out, c)
	}
	for key, version := range was {
		out = append(out, PackageChange{Name: key.Name, Format: key.Format, Arch: key.Arch, Kind: Removed, From: version})
	}
	slices.SortFunc(out, func(a, b PackageChange) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Format, b.Format), strings.Compare(a.Arch, b.Arch))
	})
	return out
}
