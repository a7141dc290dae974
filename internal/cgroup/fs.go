package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Mode is how a host mounts its control groups.
type Mode string

// The modes.
const (
	V1     Mode = "v1"     // one hierarchy a controller
	V2     Mode = "v2"     // the unified hierarchy at the root
	Hybrid Mode = "hybrid" // version 1 controllers, and the unified hierarchy in "unified"
)

// Default places of the kernel's file systems.
const (
	DefaultRoot = "/sys/fs/cgroup"
	DefaultProc = "/proc"
)

// ErrNotFound says that a process or container has no control group here: it has ended, or never began.
var ErrNotFound = errors.New("no control group")

// FS is the door to the control groups below one root.
type FS struct {
	root, proc string
	mode       Mode
}

// Open looks at how groups are mounted below root. Empty strings mean the kernel's usual places.
func Open(root, proc string) (*FS, error) {
	if root == "" {
		root = DefaultRoot
	}
	if proc == "" {
		proc = DefaultProc
	}
	f := &FS{root: root, proc: proc}
	switch {
	case isFile(filepath.Join(root, "cgroup.controllers")):
		f.mode = V2
	case !slices.ContainsFunc(hierarchyNames("cpu"), func(name string) bool { return isDir(filepath.Join(root, name)) }):
		return nil, fmt.Errorf("open control groups at %s: neither cgroup.controllers nor a cpu hierarchy is there", root)
	case isFile(filepath.Join(root, "unified", "cgroup.controllers")):
		f.mode = Hybrid
	default:
		f.mode = V1
	}
	return f, nil
}

// ByPid finds the group of a container by a process of it, given in the PID namespace that the proc file system shows. Only what
// has the container's id in its path is that: the process may have ended, and its number be another's by now, whose group must
// not be touched. A group that an init has made for itself below the container's is not meant. None is ErrNotFound.
func (f *FS) ByPid(pid int, id string) (*Group, error) {
	if pid <= 0 || !isID(id) {
		return nil, fmt.Errorf("find the group of process %d: %w", pid, ErrNotFound)
	}
	b, err := readSmall(filepath.Join(f.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("find the group of process %d: %w", pid, err)
	}
	m, err := parseMembership(b)
	if err != nil {
		return nil, fmt.Errorf("find the group of process %d: %w", pid, err)
	}
	g := f.group(func(controller string, v2 bool) string {
		path, ok := m[controller]
		if v2 {
			path, ok = m[unified]
		}
		// A process of an outer cgroup namespace shows a path that climbs out of our root; it cannot be read from here.
		if !ok || strings.HasPrefix(path, "/..") {
			return ""
		}
		return upTo(path, id)
	})
	if g == nil {
		return nil, fmt.Errorf("find the group of process %d: %w", pid, ErrNotFound)
	}
	return g, nil
}

// upTo is a path as far as the folder with the id in its name; "" when none has it.
func upTo(path, id string) string {
	at := strings.Index(path, id)
	if at < 0 {
		return ""
	}
	if end := strings.IndexByte(path[at:], '/'); end >= 0 {
		return path[:at+end]
	}
	return path
}

func isID(id string) bool { return id != "" && !strings.ContainsAny(id, "/.") }

// ByDocker finds the group of a container by its full id, whichever of Docker's drivers made it. parent is the
// container's own cgroup parent, "" for the engine's default.
func (f *FS) ByDocker(id, parent string) (*Group, error) {
	if !isID(id) {
		return nil, fmt.Errorf("find the group of container %q: not a container id", id)
	}
	for _, path := range dockerPaths(id, parent) {
		if g := f.group(func(string, bool) string { return path }); g != nil {
			return g, nil
		}
	}
	return nil, fmt.Errorf("find the group of container %.12s: %w", id, ErrNotFound)
}

// Find finds the group of a running container: by its Docker id where Docker's drivers put it, else by its first process.
func (f *FS) Find(pid int, id, parent string) (*Group, error) {
	if g, err := f.ByDocker(id, parent); err == nil {
		return g, nil
	}
	return f.ByPid(pid, id)
}

// dockerPaths are the places where Docker's drivers put a container's group.
func dockerPaths(id, parent string) []string {
	if parent == "" {
		return []string{"/docker/" + id, "/system.slice/docker-" + id + ".scope"}
	}
	if strings.HasSuffix(parent, ".slice") {
		return []string{slicePath(parent) + "/docker-" + id + ".scope", filepath.Join("/", parent, id)}
	}
	return []string{filepath.Join("/", parent, id)}
}

// slicePath is where systemd keeps a slice: "a-b.slice" lies in "a.slice".
func slicePath(slice string) string {
	name := strings.TrimSuffix(filepath.Base(slice), ".slice")
	path, prefix := "", ""
	for _, part := range strings.Split(name, "-") {
		prefix += part
		path += "/" + prefix + ".slice"
		prefix += "-"
	}
	return path
}

// group builds the group whose path in each hierarchy is given by where; nil when it exists in none that counts.
func (f *FS) group(where func(controller string, v2 bool) string) *Group {
	g := &Group{
		cpu: f.place("cpu", where), usage: f.place("cpuacct", where),
		memory: f.place("memory", where), pids: f.place("pids", where), io: f.place("blkio", where),
	}
	if g.cpu.dir == "" && g.usage.dir == "" {
		return nil
	}
	return g
}

// place is the group's folder for one controller: in the controller's own hierarchy, else in the unified one.
func (f *FS) place(controller string, where func(string, bool) string) place {
	if f.mode != V2 {
		for _, name := range hierarchyNames(controller) {
			base := filepath.Join(f.root, name)
			if path := where(controller, false); path != "" && isDir(base) && isDir(filepath.Join(base, path)) {
				return place{dir: filepath.Join(base, path)}
			}
		}
	}
	base := f.root
	switch f.mode {
	case V1:
		return place{}
	case Hybrid:
		base = filepath.Join(f.root, "unified")
	}
	path := where(controller, true)
	if path == "" || !isDir(filepath.Join(base, path)) {
		return place{}
	}
	dir := filepath.Join(base, path)
	// On a hybrid host the unified hierarchy carries only the controllers that version 1 does not.
	if f.mode == Hybrid && !isFile(filepath.Join(dir, v2Proof(controller))) {
		return place{}
	}
	return place{dir: dir, v2: true}
}

// v2Proof is a file that a unified group has only when it carries the controller.
func v2Proof(controller string) string {
	switch controller {
	case "cpu", "cpuacct":
		return "cpu.max"
	case "memory":
		return "memory.current"
	case "blkio":
		return "io.stat"
	}
	return "pids.current"
}

// hierarchyNames are the folders under which a version 1 controller may be mounted.
func hierarchyNames(controller string) []string {
	if controller == "cpu" || controller == "cpuacct" {
		return []string{controller, "cpu,cpuacct", "cpuacct,cpu"}
	}
	return []string{controller}
}

func isDir(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.IsDir()
}

func isFile(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.Mode().IsRegular()
}

// gone turns the errors of a group or process that vanished under our hands into ErrNotFound: a removed folder is
// ENOENT, a file that was open when its group went away is ENODEV, and a process that ended is ESRCH.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || isVanished(err) {
		return ErrNotFound
	}
	return err
}
