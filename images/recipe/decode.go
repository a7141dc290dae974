package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of a description: far above any that a person writes, and far below what would hurt.
const (
	maxSize   = 256 << 10
	maxList   = 1000
	maxText   = 64 << 10 // one value
	maxFaults = 50
)

// Decode reads a description and checks all that can be checked without its folder. The error is Faults: all of them at once.
func Decode(data []byte) (Recipe, error) {
	if len(data) > maxSize {
		return Recipe{}, Faults{{Text: fmt.Sprintf("is %d bytes long; at most %d are read", len(data), maxSize)}}
	}
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return Recipe{}, Faults{{Text: "is empty; berth build --init writes one to begin with"}}
	case err != nil:
		return Recipe{}, Faults{{Text: strings.TrimPrefix(err.Error(), "yaml: ")}} // names the line
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Recipe{}, Faults{{Text: "holds more than one document"}}
	}
	d := &decoding{lines: map[string]int{}, unread: map[string]bool{}}
	var r Recipe
	if len(document.Content) == 1 {
		d.recipe(document.Content[0], &r)
	}
	d.settle(&r)
	return r, d.faults.err()
}

// decoding gathers faults, and remembers on which line each path stands.
type decoding struct {
	faults Faults
	lines  map[string]int
	unread map[string]bool // paths whose value could not be taken, so that nothing more is to be said of it
}

func (d *decoding) fault(line int, path, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, Fault{line, path, fmt.Sprintf(format, args...)})
	}
}

// wrong is fault for a value of the wrong kind.
func (d *decoding) wrong(n *yaml.Node, path, format string, args ...any) {
	d.unread[path] = true
	d.fault(n.Line, path, format, args...)
}

// at is fault for a path that was read, or whose parent was.
func (d *decoding) at(path, format string, args ...any) {
	for p := path; ; {
		if d.unread[p] {
			return
		}
		if line, ok := d.lines[p]; ok {
			d.fault(line, path, format, args...)
			return
		}
		cut := strings.LastIndexAny(p, ".[")
		if cut < 0 {
			d.fault(0, path, format, args...)
			return
		}
		p = p[:cut]
	}
}

// reader reads the value of one key.
type reader func(n *yaml.Node, path string)

func (d *decoding) recipe(n *yaml.Node, r *Recipe) {
	d.mapping(n, "", map[string]reader{
		"name": d.text(&r.Name), "version": d.text(&r.Version), "push": d.text(&r.Push), "base": d.text(&r.Base),
		"family": d.text((*string)(&r.Family)), "supervisor": d.text((*string)(&r.Supervisor)), "language": d.text((*string)(&r.Language)),
		"app": d.text(&r.App), "users": d.texts(&r.Users), "packages": d.texts(&r.Packages), "ignore": d.texts(&r.Ignore),
		"commands": d.texts(&r.Commands), "environment": d.environment(&r.Environment),
		"files": func(n *yaml.Node, path string) {
			d.list(n, path, func(n *yaml.Node, path string) {
				f := File{line: n.Line}
				d.mapping(n, path, map[string]reader{
					"source": d.text(&f.Source), "destination": d.text(&f.Destination), "owner": d.text(&f.Owner), "mode": d.mode(&f.Mode),
				})
				r.Files = append(r.Files, f)
			})
		},
		"build": func(n *yaml.Node, path string) {
			r.Build = &Stage{}
			d.mapping(n, path, map[string]reader{
				"base": d.text(&r.Build.Base), "packages": d.texts(&r.Build.Packages), "source": d.text(&r.Build.Source),
				"commands": d.texts(&r.Build.Commands), "output": d.text(&r.Build.Output), "destination": d.text(&r.Build.Destination),
			})
		},
		"services": func(n *yaml.Node, path string) {
			d.list(n, path, func(n *yaml.Node, path string) {
				s := Service{Order: 50}
				d.mapping(n, path, map[string]reader{
					"name": d.text(&s.Name), "command": d.command(&s), "user": d.text(&s.User), "directory": d.text(&s.Directory),
					"environment": d.environment(&s.Environment), "order": d.number(&s.Order), "health": d.check(&s.Health),
				})
				r.Services = append(r.Services, s)
			})
		},
		"ports": func(n *yaml.Node, path string) {
			d.list(n, path, func(n *yaml.Node, path string) {
				var port int
				d.number(&port)(n, path)
				r.Ports = append(r.Ports, port)
			})
		},
		"health": d.check(&r.Health),
	})
}

// mapping reads the keys of a mapping; unknown and repeated ones are faults.
func (d *decoding) mapping(n *yaml.Node, path string, keys map[string]reader) {
	d.lines[path] = n.Line
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "must be a mapping (key: value), not %s", kindOf(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		at := name
		if path != "" {
			at = path + "." + name
		}
		read, known := keys[name]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fault(key.Line, path, "has a key that is no word")
		case !known:
			d.fault(key.Line, path, "%q is not known; known are %s", name, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		case seen[name]:
			d.fault(key.Line, at, "stands there twice")
		case value.Kind == yaml.AliasNode || value.Anchor != "":
			d.wrong(value, at, "anchors and aliases are not read")
		default:
			d.lines[at] = value.Line
			read(value, at)
		}
		seen[name] = true
	}
}

func (d *decoding) list(n *yaml.Node, path string, each reader) {
	switch {
	case isNull(n):
	case n.Kind != yaml.SequenceNode:
		d.wrong(n, path, "must be a list, not %s", kindOf(n))
	case len(n.Content) > maxList:
		d.wrong(n, path, "has %d entries; at most %d are read", len(n.Content), maxList)
	default:
		for i, c := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.lines[at] = c.Line
			if c.Kind == yaml.AliasNode || c.Anchor != "" {
				d.wrong(c, at, "anchors and aliases are not read")
				continue
			}
			each(c, at)
		}
	}
}

// text takes any scalar as it is written, so that version: 1.10 is not 1.1.
func (d *decoding) text(into *string) reader {
	return func(n *yaml.Node, path string) {
		switch {
		case n.Kind != yaml.ScalarNode || isNull(n):
			d.wrong(n, path, "must be a text, not %s", kindOf(n))
		case len(n.Value) > maxText:
			d.wrong(n, path, "is %d bytes long; at most %d are read", len(n.Value), maxText)
		default:
			*into = n.Value
		}
	}
}

func (d *decoding) texts(into *[]string) reader {
	return func(n *yaml.Node, path string) {
		d.list(n, path, func(n *yaml.Node, path string) {
			var one string
			d.text(&one)(n, path)
			*into = append(*into, one)
		})
	}
}

func (d *decoding) number(into *int) reader {
	return func(n *yaml.Node, path string) {
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			d.wrong(n, path, "must be a whole number")
			return
		}
		*into = v
	}
}

// duration reads "30s", "1m" or a number of seconds.
func (d *decoding) duration(into *int) reader {
	return func(n *yaml.Node, path string) {
		v, err := strconv.Atoi(n.Value)
		if err != nil {
			var t time.Duration
			t, err = time.ParseDuration(n.Value)
			v = int(t / time.Second)
		}
		if n.Kind != yaml.ScalarNode || err != nil || v < 1 || v > 86400 {
			d.wrong(n, path, "must be a time from 1s to 24h, such as 30s")
			return
		}
		*into = v
	}
}

// mode reads octal digits, quoted or not: YAML would take 0640 for another number.
func (d *decoding) mode(into *fs.FileMode) reader {
	return func(n *yaml.Node, path string) {
		v, err := strconv.ParseUint(n.Value, 8, 32)
		if n.Kind != yaml.ScalarNode || err != nil || v > 0o777 || v == 0 || len(n.Value) < 3 {
			d.wrong(n, path, "must be three octal digits, such as 0640; setuid and its like are not set by a recipe")
			return
		}
		*into = fs.FileMode(v)
	}
}

func (d *decoding) environment(into *[]Var) reader {
	return func(n *yaml.Node, path string) {
		if n.Kind != yaml.MappingNode || len(n.Content) > 2*maxList {
			d.wrong(n, path, "must be a mapping of at most %d names to values", maxList)
			return
		}
		keys, values := map[string]reader{}, map[string]*string{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v := new(string)
			keys[n.Content[i].Value], values[n.Content[i].Value] = d.text(v), v
		}
		d.mapping(n, path, keys)
		for _, name := range slices.Sorted(maps.Keys(values)) {
			*into = append(*into, Var{name, *values[name]})
		}
	}
}

func (d *decoding) command(s *Service) reader {
	return func(n *yaml.Node, path string) {
		if n.Kind == yaml.SequenceNode {
			d.texts(&s.Command)(n, path)
			return
		}
		var line string
		d.text(&line)(n, path)
		if strings.TrimSpace(line) != "" {
			s.Command, s.Shell = []string{line}, true
		}
	}
}

func (d *decoding) check(into **Check) reader {
	return func(n *yaml.Node, path string) {
		c := Check{Interval: 30, Timeout: 5, Start: 30, Retries: 3}
		d.mapping(n, path, map[string]reader{
			"http": d.text(&c.HTTP), "command": d.text(&c.Command), "port": d.number(&c.Port), "retries": d.number(&c.Retries),
			"tcp":      func(n *yaml.Node, path string) { c.TCP = true; d.number(&c.Port)(n, path) },
			"interval": d.duration(&c.Interval), "timeout": d.duration(&c.Timeout), "start": d.duration(&c.Start),
		})
		*into = &c
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func kindOf(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	}
	return "a single value"
}
