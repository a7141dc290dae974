package unit

import (
	"io/fs"
	"strings"
	"testing/fstest"
)

// world makes a tree of text: "-- path" begins a file, "-- path -> target" is a link, "-- path !" an executable.
func world(text string) fstest.MapFS {
	files := fstest.MapFS{}
	name := ""
	for _, ln := range strings.SplitAfter(text, "\n") {
		head, ok := strings.CutPrefix(ln, "-- ")
		if !ok {
			if name != "" {
				files[name].Data = append(files[name].Data, ln...)
			}
			continue
		}
		head = strings.TrimSpace(head)
		name = ""
		if at, target, ok := strings.Cut(head, " -> "); ok {
			files[strings.TrimPrefix(at, "/")] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		at, exec := strings.CutSuffix(head, " !")
		name = strings.TrimPrefix(at, "/")
		files[name] = &fstest.MapFile{Mode: 0o644}
		if exec {
			files[name].Mode = 0o755
		}
	}
	return files
}

// change carries changes out, as package svc does on a machine.
func change(files fstest.MapFS, changes []Change) fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range files {
		out[name] = f
	}
	for _, c := range changes {
		name := strings.TrimPrefix(c.Path, "/")
		delete(out, name)
		if !c.Remove {
			out[name] = &fstest.MapFile{Data: []byte(c.Target), Mode: fs.ModeSymlink | 0o777}
		}
	}
	return out
}

func machine(text string) *Set {
	return New(world(text), Environment{Hostname: "web1.example.org", MachineID: "0123456789abcdef0123456789abcdef", BootID: "b00t"})
}

// service makes a unit of the lines of a [Service] section, which may begin another one.
func service(lines string) *Unit {
	return machine("-- /lib/systemd/system/t.service\n[Service]\n" + lines + "\n").Unit("t.service")
}
