// Package verbs is what people and scripts type to manage services: systemctl, service, chkconfig, update-rc.d, invoke-rc.d, journalctl and
// their kin. A command line and the files of a machine come in, together with a manager of services; text and an exit code go out, shaped as
// systemd 252, sysv-rc and RHEL's chkconfig shape them, because scriptlets and Ansible read both. It never starts a service itself.
package verbs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// Environment is the machine on which a program is called.
type Environment struct {
	Manager manager.Manager
	// Units reads the units of a file tree anew; folders are unit folders that go before the usual ones.
	Units    func(root string, folders ...string) *unit.Set
	Root     string // where the file system begins; "/" but in tests
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Terminal bool // Stdout is one
	Getenv   func(string) string
	Now      func() time.Time
	Zone     *time.Location
	UID      int
	Hostname string
	// Run calls another program to its end and gives its exit code: init scripts, editors, policy-rc.d.
	Run func(ctx context.Context, p Program) (int, error)
	// Become replaces this program by another one, which keeps its process; outside of tests it returns only when it cannot.
	Become func(path string, argv []string) error
	// Readlink reads a link of /proc, if it may.
	Readlink func(path string) (string, error)
	// Chown sets the owner of a file without following a link.
	Chown func(path string, uid, gid int) error
}

// Program is a call of another program. It inherits this one's input and output where its own are nil.
type Program struct {
	Path   string
	Args   []string // without argv[0]
	Env    []string // nil: inherited
	Stdout io.Writer
	Stderr io.Writer
}

// Exit codes with a meaning, of LSB's list for status and for other actions.
const (
	exitOK          = 0
	exitFailure     = 1
	exitNotRunning  = 3 // of status
	exitUnknown     = 4 // of status
	exitNotFeasible = 3 // of an action
	exitNoPermit    = 4
	exitNoUnit      = 5
)

// call is one command line.
type call struct {
	Environment
	ctx  context.Context
	name string // of the program
	set  *unit.Set

	listedFiles []unit.File
}

// Main runs the program whose name is the last element of argv[0] and returns its exit code.
func Main(ctx context.Context, env Environment, argv []string) int {
	if len(argv) == 0 {
		return exitFailure
	}
	c := &call{Environment: env, ctx: ctx, name: filepath.Base(argv[0])}
	args := argv[1:]
	if run := program(c.name); run != nil {
		return run(c, args)
	}
	c.errorf("%s: not a program of this image's service manager; there are: %s", c.name, strings.Join(Programs(), " "))
	return exitFailure
}

// units reads the unit files at the first use; one call sees one state of the files.
func (c *call) units() *unit.Set {
	if c.set == nil {
		c.set = c.Units(c.Root)
	}
	return c.set
}

// reread forgets what units were read, after a change of the files.
func (c *call) reread() { c.set, c.listedFiles = nil, nil }

func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.Stdout, format, args...) }

// errorf writes a line to standard error.
func (c *call) errorf(format string, args ...any) { fmt.Fprintf(c.Stderr, format+"\n", args...) }

// path is a file of the machine.
func (c *call) path(p string) string { return filepath.Join(c.Root, p) }

func (c *call) exists(p string) bool {
	_, err := os.Stat(c.path(p))
	return err == nil
}

// booted says whether services are managed here: as sd_booted(3) asks. They are not while an image is built.
func (c *call) booted() bool { return c.exists("/run/systemd/system") && c.Manager != nil }

// utf8 says whether the caller's locale can show more than ASCII. As systemd, it takes the C locale that nobody asked for as one that can.
func (c *call) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := c.Getenv(name); v != "" {
			v = strings.ToUpper(v)
			return strings.HasSuffix(v, "UTF-8") || strings.HasSuffix(v, "UTF8")
		}
	}
	return true
}

// glyph picks the character that the locale can show.
func (c *call) glyph(unicode, ascii string) string {
	if c.utf8() {
		return unicode
	}
	return ascii
}

// paint colours text on a terminal.
func (c *call) paint(code, text string) string {
	if !c.Terminal || code == "" || c.Getenv("NO_COLOR") != "" || c.Getenv("SYSTEMD_COLORS") == "0" || c.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	red   = "0;1;31"
	green = "0;1;32"
)
