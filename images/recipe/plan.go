package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxInstruction is what the engine's reader of Dockerfiles takes as a line (bufio.MaxScanTokenSize, with its line end).
const maxInstruction = 64<<10 - 2

// maxGroups bounds how many layers of packages an image gathers from version to version before they become one again.
const maxGroups = 8

// Entry is one file, folder or link of the build context.
type Entry struct {
	Name    string // in the context
	Source  string // in the recipe's folder; "": made of Content
	Content []byte
	Link    string // not "": a symbolic link to this
	Mode    fs.FileMode
	Sum     string // of a file with a Source: the SHA-256 of what was in it when the plan was made, of which its digest speaks
}

// Step is one instruction of the Dockerfile.
type Step struct {
	Title string // for people: "install nginx, redis"
	Text  string
	Needs []Entry // of the build context
	// Shared ends a part of the Dockerfile that other recipes have in common with this one, so that it is worth it to wait for
	// one who is building it.
	Shared bool
}

// Plan is how an image is made.
type Plan struct {
	Recipe Recipe
	Digest string // of what was written and what is copied: the same for the same result
	Steps  []Step
	Groups [][]string // packages, in the order in which their layers lie
}

// Dockerfile is the text of the first n steps; all of them for n < 0.
func (p Plan) Dockerfile(n int) string {
	var b strings.Builder
	for _, s := range p.take(n) {
		b.WriteString(s.Text)
		b.WriteByte('\n')
	}
	return b.String()
}

// Context lists what the first n steps need, by name.
func (p Plan) Context(n int) []Entry {
	var out []Entry
	for _, s := range p.take(n) {
		out = append(out, s.Needs...)
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (p Plan) take(n int) []Step {
	if n < 0 || n > len(p.Steps) {
		n = len(p.Steps)
	}
	return p.Steps[:n]
}

// draft is a plan while it is made.
type draft struct {
	Recipe
	dir    fs.FS
	lang   choice
	plan   Plan
	faults Faults
	read   map[string]string // what of the folder is in the plan -> digest
	copies int
}

func (d *draft) fault(at, format string, args ...any) {
	d.faults = append(d.faults, Fault{Path: at, Text: fmt.Sprintf(format, args...)})
}

// Plan lays the image out. Earlier are the groups of packages of an image of the same name on the same base, as Plan gave them:
// packages that are new come into a layer above theirs. The folder is read, and must offer fs.ReadLinkFS for links.
func (r Recipe) Plan(dir fs.FS, earlier [][]string) (Plan, error) {
	d := &draft{Recipe: r, dir: dir, read: map[string]string{}, plan: Plan{Recipe: r}}
	d.choose()
	d.stage()
	d.add(Step{Title: "start from " + r.Base, Text: "FROM " + r.Base})
	d.addUsers()
	d.copyFiles("files", slices.Collect(d.filesOf(true)))
	d.install(earlier)
	d.prepare()
	d.copyFiles("files", append(slices.Clone(d.lang.files), slices.Collect(d.filesOf(false))...))
	d.take()
	d.addServices()
	d.environment()
	d.run("run the recipe's commands", d.Commands)
	d.finish()
	for _, s := range d.plan.Steps {
		if len(s.Text) > maxInstruction {
			d.fault("", "to %.60s takes %d bytes in a Dockerfile, and the engine reads at most %d: move some of it into files", s.Title, len(s.Text), maxInstruction)
		}
	}
	if d.faults != nil {
		return Plan{}, d.faults.err()
	}
	d.plan.Digest = d.digest()
	return d.plan, nil
}

func (d *draft) add(s Step) { d.plan.Steps = append(d.plan.Steps, s) }

// run adds the commands as one layer: the first that fails ends it.
func (d *draft) run(title string, commands []string) {
	if len(commands) > 0 {
		d.add(Step{Title: title, Text: "RUN " + words("/bin/sh", "-ec", strings.Join(commands, "\n"))})
	}
}

// words is a JSON array, in which no shell and no builder looks for anything.
func words(w ...string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(w) // strings always can be
	return strings.TrimSpace(b.String())
}

func (d *draft) addUsers() {
	users := append(slices.Clone(d.lang.users), d.Users...)
	slices.Sort(users)
	if users = slices.Compact(users); len(users) == 0 {
		return
	}
	var script []string
	for _, u := range users {
		script = append(script, fmt.Sprintf("id %s >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /srv --shell /usr/sbin/nologin %s", u, u))
	}
	d.run("add users "+strings.Join(users, ", "), script)
}

// sources are the places from which package managers learn of repositories and their keys: what goes there must be there before
// packages are installed.
var sources = []string{"/etc/apt/", "/etc/yum.repos.d/", "/etc/dnf/", "/etc/pki/rpm-gpg/", "/usr/share/keyrings/"}

func (d *draft) filesOf(early bool) func(yield func(File) bool) {
	return func(yield func(File) bool) {
		for _, f := range d.Files {
			is := slices.ContainsFunc(sources, func(s string) bool { return strings.HasPrefix(f.Destination+"/", s) })
			if is == early && !yield(f) {
				return
			}
		}
	}
}

// install adds the layers of packages.
func (d *draft) install(earlier [][]string) {
	var want []string
	for i, p := range append(slices.Clone(d.lang.packages), d.Packages...) {
		if isLocal(p) {
			sum, err := d.sum(p)
			if err != nil {
				d.fault(fmt.Sprintf("packages[%d]", i-len(d.lang.packages)), "%v", err)
			}
			p += "#" + sum
		}
		want = append(want, p)
	}
	d.plan.Groups = groups(d.lang.packages, want, earlier)
	for i, g := range d.plan.Groups {
		d.group(i, g)
	}
}

// groups keeps the earlier groups as long as all of each is still wanted, and puts the rest into one above them. What a language
// brings comes first by itself, as all recipes of that language have it.
func groups(first, want []string, earlier [][]string) [][]string {
	left := slices.Sorted(slices.Values(want))
	left = slices.Compact(left)
	if len(earlier) == 0 && len(first) > 0 {
		earlier = [][]string{slices.Compact(slices.Sorted(slices.Values(first)))}
	}
	var out [][]string
	for _, g := range earlier {
		if len(g) == 0 || slices.ContainsFunc(g, func(p string) bool { return !slices.Contains(left, p) }) {
			break
		}
		out = append(out, g)
		left = slices.DeleteFunc(left, func(p string) bool { return slices.Contains(g, p) })
	}
	if len(left) > 0 {
		out = append(out, left)
	}
	if len(out) > maxGroups {
		return groups(first, want, nil)
	}
	return out
}

// localDir is where files of packages lie while they are installed.
const localDir = "/tmp/berth-packages"

func (d *draft) group(number int, group []string) {
	var names, shown, files []string
	var local []Entry
	kinds := map[string]bool{}
	for _, p := range group {
		file, sum, is := strings.Cut(p, "#")
		if !is {
			names, shown = append(names, p), append(shown, p)
			continue
		}
		kinds[path.Ext(file)] = true
		shown, files = append(shown, path.Base(file)), append(files, path.Base(file))
		local = append(local, Entry{Name: fmt.Sprintf("packages/%d/%s", number, path.Base(file)), Source: path.Clean(file), Mode: 0o644, Sum: sum})
	}
	slices.Sort(shown)
	what := strings.Join(shown, ", ")
	if len(local) > 0 {
		d.add(Step{Title: "take " + strings.Join(files, ", "), Text: "COPY " + words(fmt.Sprintf("packages/%d/", number), localDir+"/"), Needs: local})
	}
	script := installScript(d.Family, names, kinds)
	if d.Supervisor == S6 {
		// openssh-server makes some when it is upgraded, and each container would answer with them. The base's sshd has its seat's.
		script = append(script, "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub")
	}
	d.run("install "+what, script)
	d.plan.Steps[len(d.plan.Steps)-1].Shared = true
}

// installScript installs packages by name, and the files of packages that lie in localDir.
func installScript(family Family, names []string, kinds map[string]bool) []string {
	if family == RPM {
		what := strings.Join(names, " ")
		if kinds[".rpm"] {
			what += " " + localDir + "/*.rpm"
		}
		return []string{
			"if command -v dnf >/dev/null; then y=dnf; elif command -v yum >/dev/null; then y=yum; else y=microdnf; fi",
			"$y -y install " + what, "$y clean all", "rm -rf /var/cache/dnf /var/cache/yum " + localDir,
		}
	}
	script := []string{
		"export DEBIAN_FRONTEND=noninteractive",
		// A build that is cut off is thrown away whole, so nothing must be forced to the disk file by file.
		"install() { apt-get -y -q -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold install \"$@\"; }",
	}
	what := strings.Join(names, " ")
	if kinds[".deb"] {
		what += " " + localDir + "/*.deb"
	}
	switch {
	case len(names) > 0:
		script = append(script, "apt-get -q update", "install "+what)
	case kinds[".deb"]: // often all that they need is there, and no repository has to be asked
		script = append(script, "install --no-download "+what+" || { apt-get -q update; install "+what+"; }")
	}
	if kinds[".rpm"] {
		script = append(script,
			"command -v rpm >/dev/null || { echo 'this base has no rpm: take berth/rpm:bookworm as the base'; exit 1; }",
			"rpm -Uvh --replacepkgs "+localDir+"/*.rpm")
	}
	return append(script, "apt-get clean", "rm -rf /var/lib/apt/lists/* /var/log/apt/* "+localDir)
}

// stage adds what is built in a container of its own.
func (d *draft) stage() {
	s := d.Build
	if s == nil {
		s = d.lang.build
	}
	if s == nil {
		return
	}
	d.add(Step{Title: "start the build from " + s.Base, Text: "FROM " + s.Base + " AS build"})
	if len(s.Packages) > 0 {
		packages := slices.Compact(slices.Sorted(slices.Values(s.Packages)))
		d.run("install "+strings.Join(packages, ", ")+" for the build", installScript(d.Family, packages, nil))
		d.plan.Steps[len(d.plan.Steps)-1].Shared = true
	}
	d.copyFiles("build", []File{{Source: s.Source, Destination: "/src/"}})
	d.run("build", append([]string{"cd /src"}, s.Commands...))
}

// take fetches what the build has made.
func (d *draft) take() {
	s := d.Build
	if s == nil {
		s = d.lang.build
	}
	if s != nil {
		d.add(Step{Title: "take what was built", Text: "COPY --from=build " + words(s.Output, s.Destination)})
	}
}

// environment adds the variables that all of the container's processes have.
func (d *draft) environment() {
	values := map[string]string{}
	all := append(slices.Clone(d.lang.environment), d.Environment...)
	if d.Supervisor == None { // then the service's are the container's
		for _, s := range d.services() {
			all = append(all, s.Environment...)
		}
	}
	for _, v := range all {
		values[v.Name] = v.Value
	}
	if len(values) == 0 {
		return
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	text := "ENV"
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`)
	for _, name := range names {
		text += " " + name + `="` + quote.Replace(values[name]) + `"`
	}
	d.add(Step{Title: "set the environment", Text: text})
}

// finish adds what costs no layer.
func (d *draft) finish() {
	ports := append(slices.Clone(d.lang.ports), d.Ports...)
	slices.Sort(ports)
	if ports = slices.Compact(ports); len(ports) > 0 {
		text := "EXPOSE"
		for _, p := range ports {
			text += fmt.Sprintf(" %d", p)
		}
		d.add(Step{Title: "name the ports", Text: text})
	}
	if d.Supervisor != None {
		return
	}
	for _, s := range d.services() {
		if s.User != "" {
			d.add(Step{Title: "name the user", Text: "USER " + s.User})
		}
		if s.Directory != "" {
			d.add(Step{Title: "name the folder", Text: "WORKDIR " + s.Directory})
		}
		command := s.Command
		if s.Shell {
			command = []string{"/bin/sh", "-c", s.Command[0]}
		}
		d.add(Step{Title: "clear the entry point", Text: "ENTRYPOINT []"})
		d.add(Step{Title: "name the command", Text: "CMD " + words(command...)})
	}
}

// digest is of what was written and what of the folder is in the plan; not of what this program makes of it, so that a newer
// Berth takes a version for the same that it was.
func (d *draft) digest() string {
	h := sha256.New()
	text, _ := json.Marshal(d.Recipe) // plain values always can be
	h.Write(text)
	names := make([]string, 0, len(d.read))
	for name := range d.read {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(h, "\x00%s\x00%s", name, d.read[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sum is the digest of a file of the folder.
func (d *draft) sum(name string) (string, error) {
	name = path.Clean(name)
	if sum, ok := d.read[name]; ok {
		return sum, nil
	}
	f, err := d.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no file %s", name)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no file", name)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	d.read[name] = hex.EncodeToString(h.Sum(nil))
	return d.read[name], nil
}
