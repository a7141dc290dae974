package recipe

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What names may look like. They end up in Dockerfiles, scripts and image names, so none of them may mean anything there.
var (
	nameForm    = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	imageForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)
	pushForm    = regexp.MustCompile(`^(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`)
	packageForm = regexp.MustCompile(`^@?[A-Za-z0-9][A-Za-z0-9+._:~=/-]*$`)
	localForm   = regexp.MustCompile(`^[A-Za-z0-9._+~/@:,-]+\.(deb|rpm)$`)
	userForm    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
	ownerForm   = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,30}|[0-9]{1,9})(:([a-z_][a-z0-9_-]{0,30}|[0-9]{1,9}))?$`)
	serviceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,60}$`)
	varForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	placeForm   = regexp.MustCompile(`^/[A-Za-z0-9._+~@:,=%/ -]*$`) // nothing that COPY or a shell would expand
	rpmBases    = regexp.MustCompile(`(^|/)(rocky|rockylinux|centos|fedora|alma|almalinux|rhel|ubi[0-9]*|oraclelinux|amazonlinux)([^a-z]|$)`)
)

// ValidVersion says whether a version can be an image's tag.
func ValidVersion(v string) bool { return versionForm.MatchString(v) }

// ValidPush says why an address to push to is none, or nil.
func ValidPush(p string) error {
	if host, _, _ := strings.Cut(p, "/"); !pushForm.MatchString(p) || host != "localhost" && !strings.ContainsAny(host, ".:") {
		return fmt.Errorf("%q is no place to push to: REGISTRY/NAME is, such as registry.example.org:5000/shop, without a tag", p)
	}
	return nil
}

// settle fills in defaults and checks everything that needs no folder.
func (d *decoding) settle(r *Recipe) {
	if r.Base == "" {
		r.Base = DefaultBase
	}
	if r.Family == "" {
		r.Family = Deb
		if rpmBases.MatchString(r.Base) {
			r.Family = RPM
		}
	}
	if r.Supervisor == "" {
		r.Supervisor = S6
	}
	if r.Language != "" && r.App == "" {
		r.App = "."
	}
	d.head(r)
	for i, u := range r.Users {
		if !userForm.MatchString(u) {
			d.at(fmt.Sprintf("users[%d]", i), "%q is no user's name", u)
		}
	}
	d.packages(r.Packages, "packages")
	for i, f := range r.Files {
		d.file(f, fmt.Sprintf("files[%d]", i))
	}
	for i, p := range r.Ignore {
		if _, err := path.Match(p, "x"); err != nil || p == "" {
			d.at(fmt.Sprintf("ignore[%d]", i), "%q is no pattern", p)
		}
	}
	if r.Build != nil {
		d.stage(r)
	}
	d.lineOfShell(r.Commands, "commands")
	d.vars(r.Environment, "environment")
	d.services(r)
	for i, p := range r.Ports {
		if p < 1 || p > 65535 {
			d.at(fmt.Sprintf("ports[%d]", i), "%d is no port", p)
		}
	}
	d.health(r.Health, "health")
}

func (d *decoding) head(r *Recipe) {
	if r.Name == "" {
		d.at("name", "is missing: what the image shall be called, such as shop")
	} else if !nameForm.MatchString(r.Name) || len(r.Name) > 128 {
		d.at("name", "%q is no image name: small letters, digits, and . _ - / between them, without a registry and a tag", r.Name)
	}
	if r.Version != "" && !versionForm.MatchString(r.Version) {
		d.at("version", "%q cannot be an image's tag: up to 128 letters, digits and . _ -, the first no . or -", r.Version)
	}
	if r.Push != "" {
		if err := ValidPush(r.Push); err != nil {
			d.at("push", "%v", err)
		}
	}
	if !imageForm.MatchString(r.Base) {
		d.at("base", "%q is no image", r.Base)
	}
	if r.Family != Deb && r.Family != RPM {
		d.at("family", "%q is not known: deb or rpm", r.Family)
	}
	if r.Supervisor != S6 && r.Supervisor != Units && r.Supervisor != None {
		d.at("supervisor", "%q is not known: s6, units or none", r.Supervisor)
	}
	switch {
	case r.Language == "":
		if r.App != "" {
			d.at("app", "is where a language's application is, and no language is given; files copies folders")
		}
	case !slices.Contains(Languages(), r.Language):
		d.at("language", "%q is not known: php, node, python, java or go; without one, say packages, files and services", r.Language)
	case r.Family == RPM:
		d.at("language", "the packages of languages are known by Debian's names only: on a base with rpm, say packages, files and services instead")
	case !inside(r.App):
		d.at("app", "%q is no path inside the folder", r.App)
	}
}

func (d *decoding) packages(list []string, at string) {
	files := map[string]string{} // by their own name, as they lie in one folder while they are installed
	for i, p := range list {
		here := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case isLocal(p):
			if !localForm.MatchString(p) || !inside(p) {
				d.at(here, "%q is no path of a package inside the folder", p)
			} else if other, is := files[path.Base(p)]; is && other != path.Clean(p) {
				d.at(here, "%q is called like %s, and one would take the other's place: rename it", p, other)
			}
			files[path.Base(p)] = path.Clean(p)
		case !packageForm.MatchString(p):
			d.at(here, "%q is no package's name; files of packages end in .deb or .rpm", p)
		}
	}
}

// isLocal says whether a package is a file of the folder.
func isLocal(p string) bool { return strings.HasSuffix(p, ".deb") || strings.HasSuffix(p, ".rpm") }

// inside says whether a path is relative and stays in its folder.
func inside(p string) bool {
	c := path.Clean(p)
	return p != "" && !strings.HasPrefix(p, "/") && c != ".." && !strings.HasPrefix(c, "../") && !strings.ContainsAny(p, "\x00\n\r\\")
}

func (d *decoding) file(f File, at string) {
	if f.Source == "" {
		d.at(at+".source", "is missing: a file or a folder beside the description")
	} else if !inside(f.Source) {
		d.at(at+".source", "%q is no path inside the folder", f.Source)
	}
	d.place(f.Destination, at+".destination")
	if f.Owner != "" && !ownerForm.MatchString(f.Owner) {
		d.at(at+".owner", "%q is no owner: user or user:group", f.Owner)
	}
}

// place checks an absolute path in the image.
func (d *decoding) place(p, at string) {
	switch {
	case p == "":
		d.at(at, "is missing: an absolute path in the image")
	case !placeForm.MatchString(p) || path.Clean(p) != strings.TrimSuffix(p, "/") && p != "/":
		d.at(at, "%q is no plain absolute path", p)
	case p == "/etc/berth" || strings.HasPrefix(p, "/etc/berth/"):
		d.at(at, "/etc/berth belongs to the instance's seat, which is mounted there")
	}
}

func (d *decoding) stage(r *Recipe) {
	s := r.Build
	if s.Base == "" {
		s.Base = r.Base
	}
	if s.Source == "" {
		s.Source = "."
	}
	if !imageForm.MatchString(s.Base) {
		d.at("build.base", "%q is no image", s.Base)
	}
	if !inside(s.Source) {
		d.at("build.source", "%q is no path inside the folder", s.Source)
	}
	for i, p := range s.Packages {
		if isLocal(p) {
			d.at(fmt.Sprintf("build.packages[%d]", i), "files of packages are installed into the image only")
		}
	}
	d.packages(s.Packages, "build.packages")
	if len(s.Commands) == 0 {
		d.at("build.commands", "are missing: what shall be built in /src")
	}
	d.lineOfShell(s.Commands, "build.commands")
	d.place(s.Output, "build.output")
	d.place(s.Destination, "build.destination")
}

func (d *decoding) lineOfShell(list []string, at string) {
	for i, c := range list {
		if strings.TrimSpace(c) == "" || strings.ContainsRune(c, 0) {
			d.at(fmt.Sprintf("%s[%d]", at, i), "is no command")
		}
	}
}

func (d *decoding) vars(list []Var, at string) {
	for _, v := range list {
		if !varForm.MatchString(v.Name) {
			d.at(at, "%q is no variable's name", v.Name)
		} else if strings.HasPrefix(v.Name, "BERTH_") && v.Name != "BERTH_SSHD" && v.Name != "BERTH_STOP_GRACE" {
			d.at(at+"."+v.Name, "names that begin with BERTH_ are Berth's own")
		}
		if strings.ContainsAny(v.Value, "\x00\n\r") {
			d.at(at+"."+v.Name, "a value of several lines cannot be in an image; put it into a file")
		}
	}
}

func (d *decoding) services(r *Recipe) {
	seen := map[string]bool{}
	for i, s := range r.Services {
		at := fmt.Sprintf("services[%d]", i)
		switch {
		case s.Name == "":
			d.at(at+".name", "is missing")
		case !serviceForm.MatchString(s.Name) || strings.HasSuffix(s.Name, ".service"):
			d.at(at+".name", "%q is no service's name: letters, digits and . _ @ -, without .service", s.Name)
		case seen[s.Name]:
			d.at(at+".name", "%q stands there twice", s.Name)
		case s.Name == "app":
			d.at(at+".name", `"app" is what the container's arguments run as`)
		}
		seen[s.Name] = true
		if len(s.Command) == 0 || s.Command[0] == "" {
			d.at(at+".command", "is missing: a program that does not go to the background")
		}
		for _, word := range s.Command {
			if strings.ContainsAny(word, "\x00\n\r") {
				d.at(at+".command", "must be one line; put more into a script")
			}
		}
		if s.User != "" && !userForm.MatchString(s.User) {
			d.at(at+".user", "%q is no user's name", s.User)
		}
		if s.Directory != "" {
			d.place(s.Directory, at+".directory")
		}
		if s.Order < 0 || s.Order > 99 {
			d.at(at+".order", "%d is not from 0 to 99", s.Order)
		}
		d.vars(s.Environment, at+".environment")
		d.health(s.Health, at+".health")
	}
	if r.Supervisor == None && len(r.Services) > 1 {
		d.at("services", "without a supervisor the container has one program; these are %d", len(r.Services))
	}
}

func (d *decoding) health(c *Check, at string) {
	if c == nil {
		return
	}
	kinds := 0
	for _, is := range []bool{c.HTTP != "", c.TCP, c.Command != ""} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		d.at(at, "needs one of http (a path, and a port), tcp (a port) and command")
	case c.Command == "" && (c.Port < 1 || c.Port > 65535):
		d.at(at+".port", "is missing, or is no port")
	case c.HTTP != "" && !regexp.MustCompile(`^/[A-Za-z0-9._~!$&()*+,;=:@%/?-]*$`).MatchString(c.HTTP):
		d.at(at+".http", "%q is no path", c.HTTP)
	case strings.ContainsAny(c.Command, "\x00\n\r"):
		d.at(at+".command", "must be one line; put more into a script")
	case c.Retries < 1 || c.Retries > 100:
		d.at(at+".retries", "%d is not from 1 to 100", c.Retries)
	}
}
