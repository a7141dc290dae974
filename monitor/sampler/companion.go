package sampler

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/monitor/figures"
)

// patience is how long a sample waits for the companion.
const patience = 2 * time.Second

// companion reads what may hang: files in the containers' own trees and the state of a file system can be on a server that is
// gone. It is a goroutine of its own, so that only what it reads is missing then. The control group and /proc files do not hang.
type companion struct {
	log      logrus.FieldLogger
	asked    chan question
	answered chan answer
	pending  bool // a question has no answer yet
	hung     bool // and that was said
	once     sync.Once
}

type question struct {
	roots   []string
	dataDir string
}

type answer struct {
	services                 [][]figures.Service
	diskTotal, diskAvailable int64
}

func newCompanion(log logrus.FieldLogger) *companion {
	c := &companion{log: log, asked: make(chan question), answered: make(chan answer, 1)}
	go c.run()
	return c
}

// close lets the goroutine end once it is free.
func (c *companion) close() { c.once.Do(func() { close(c.asked) }) }

func (c *companion) run() {
	buf := make([]byte, 4<<10)
	for q := range c.asked {
		a := answer{services: make([][]figures.Service, len(q.roots))}
		for n, root := range q.roots {
			a.services[n] = readServices(root, buf)
		}
		var disk unix.Statfs_t
		if q.dataDir != "" && unix.Statfs(q.dataDir, &disk) == nil {
			a.diskTotal, a.diskAvailable = int64(disk.Blocks)*disk.Bsize, int64(disk.Bavail)*disk.Bsize
		}
		c.answered <- a
	}
}

// ask has it read of these containers; false while it still hangs on what it was asked before.
func (c *companion) ask(of []*tracked, dataDir string) bool {
	if c.pending {
		select {
		case <-c.answered: // too late
			c.pending, c.hung = false, false
		default:
			return false
		}
	}
	q := question{dataDir: dataDir, roots: make([]string, len(of))}
	for n, t := range of {
		q.roots[n] = t.root
	}
	c.asked <- q
	c.pending = true
	return true
}

// answer waits for it, though not for long.
func (c *companion) answer() (answer, bool) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a := <-c.answered:
		c.pending, c.hung = false, false
		return a, true
	case <-late.C:
		if !c.hung {
			c.hung = true
			c.log.Warn("reading the containers' services, or how full Docker's disk is, hangs: both are left out until it goes on")
		}
		return answer{}, false
	}
}
