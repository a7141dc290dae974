package svc

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/unit"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is an ordered set of variables; a later one replaces an earlier one of its name.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) put(name, value string) {
	if e.values == nil {
		e.values = map[string]string{}
	}
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) putAll(pairs []string) {
	for _, pair := range pairs {
		if name, value, ok := strings.Cut(pair, "="); ok {
			e.put(name, value)
		}
	}
}

func (e *environment) drop(name string) {
	if _, ok := e.values[name]; ok {
		delete(e.values, name)
		e.names = slices.DeleteFunc(e.names, func(n string) bool { return n == name })
	}
}

func (e *environment) pairs() []string {
	out := make([]string, 0, len(e.names))
	for _, name := range e.names {
		out = append(out, name+"="+e.values[name])
	}
	return out
}

// environ is a service's environment: the container's, as every service of the image has it, then what the unit says. Weakest first.
func (s *Supervisor) environ(u *unit.Unit, c *credentials, r *record) ([]string, error) {
	var e environment
	e.put("PATH", defaultPath)
	s.containerEnv(&e)
	e.put("INVOCATION_ID", r.Invocation)
	if u.SysV != nil {
		// The image's init functions hand a script that somebody calls to systemctl, which is who calls it here.
		e.put("SYSTEMCTL_SKIP_REDIRECT", "1")
	}
	if c != nil && c.Named {
		e.put("USER", c.Name)
		e.put("LOGNAME", c.Name)
		e.put("HOME", c.Home)
		if c.Shell != "" {
			e.put("SHELL", c.Shell)
		}
	}
	sv := u.Service
	for name, dirs := range map[string][]unit.Directory{"RUNTIME_DIRECTORY": sv.RuntimeDirectory, "STATE_DIRECTORY": sv.StateDirectory,
		"CACHE_DIRECTORY": sv.CacheDirectory, "LOGS_DIRECTORY": sv.LogsDirectory, "CONFIGURATION_DIRECTORY": sv.ConfigurationDirectory} {
		var paths []string
		for _, dir := range dirs {
			paths = append(paths, dir.Path)
		}
		if len(paths) > 0 {
			e.put(name, strings.Join(paths, ":"))
		}
	}
	e.putAll(sv.Environment)
	for _, file := range sv.EnvironmentFiles {
		if err := fromFile(&e, file); err != nil {
			return nil, failed(1, err)
		}
	}
	for _, drop := range sv.UnsetEnvironment {
		if name, value, ok := strings.Cut(drop, "="); !ok || e.values[name] == value {
			e.drop(name)
		}
	}
	if r.Main.PID != 0 && r.Main.alive() {
		e.put("MAINPID", strconv.Itoa(r.Main.PID))
	}
	return e.pairs(), nil
}

// containerEnv adds what /init has kept of the container's environment.
func (s *Supervisor) containerEnv(e *environment) {
	dir := s.path(keptEnv)
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		if value, err := os.ReadFile(filepath.Join(dir, file.Name())); err == nil {
			e.put(file.Name(), string(value))
		}
	}
}

// fromFile adds the assignments of EnvironmentFile=, which may be a pattern.
func fromFile(e *environment, file unit.EnvironmentFile) error {
	paths := []string{file.Path}
	if strings.ContainsAny(file.Path, "*?[") {
		paths, _ = filepath.Glob(file.Path)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil && !file.Optional {
			return fmt.Errorf("EnvironmentFile: %w", err)
		}
		e.putAll(unit.ParseEnvironmentFile(string(text)))
	}
	if len(paths) == 0 && !file.Optional {
		return fmt.Errorf("EnvironmentFile: no file matches %s", file.Path)
	}
	return nil
}

// newInvocation is an id for one life of a service.
func newInvocation() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
