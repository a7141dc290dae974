package netplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/wholefile"
)

// journalSchema is the only form of the journal that this version reads.
const journalSchema = 1

// maxJournal bounds what is read: an endpoint takes some 300 bytes.
const maxJournal = 64 << 20

// endpoint is what is known of one endpoint of Docker's.
type endpoint struct {
	ID        string
	Network   string // Docker's id
	Addresses []netip.Addr
	MAC       string
	Sandbox   string `json:",omitempty"` // of the container, once it has joined
	Joined    bool
	// Create: the pair of interfaces is still to be made. It is false before Docker is told to move one into a container.
	Create bool   `json:",omitempty"`
	Rate   uint64 `json:",omitempty"`
	Egress uint64 `json:",omitempty"`
}

// journal holds the endpoints and networks, on disk before anybody is told of them. Endpoints are known by the interface's
// name, which is also all that the kernel knows of them.
type journal struct {
	file string

	mu   sync.Mutex // guards data, and keeps writes in order
	data journalData
}

type journalData struct {
	Schema    int
	Boot      string               // of the machine: a reboot ends all endpoints
	Networks  map[string]string    // Docker's id -> pool
	Endpoints map[string]*endpoint // link -> endpoint
}

// bootID says which run of the machine this is; "" where the kernel does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// openJournal reads the journal. Endpoints of before a reboot are forgotten: their interfaces went with it. found are the
// endpoints that the kernel shows; they make up for a journal that is lost or cannot be read, which is the error beside
// the journal.
func openJournal(file, boot string, found []hostnet.Endpoint) (*journal, error) {
	j := &journal{file: file, data: journalData{Schema: journalSchema, Boot: boot, Networks: map[string]string{}, Endpoints: map[string]*endpoint{}}}
	kept, err := readJournal(file)
	if kept != nil {
		maps.Copy(j.data.Networks, kept.Networks)
		if kept.Boot == boot {
			maps.Copy(j.data.Endpoints, kept.Endpoints)
		}
	}
	for _, f := range found {
		link, _, nameErr := hostnet.LinkNames(f.ID)
		if _, known := j.data.Endpoints[link]; nameErr == nil && !known && kept == nil {
			j.data.Endpoints[link] = &endpoint{ID: f.ID, Addresses: f.Addresses, MAC: f.MAC, Joined: true}
		}
	}
	return j, err
}

// readJournal returns nil when there is none, or none that can be used.
func readJournal(file string) (*journalData, error) {
	s, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal of endpoints: %w", err)
	}
	if s.Size() > maxJournal {
		return nil, fmt.Errorf("read journal of endpoints %s: longer than %d bytes", file, maxJournal)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read journal of endpoints: %w", err)
	}
	return decodeJournal(b)
}

// decodeJournal trusts nothing: a link's name leads to interfaces that are made and removed.
func decodeJournal(b []byte) (*journalData, error) {
	var d journalData
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("decode journal of endpoints: %w", err)
	}
	if d.Schema != journalSchema {
		return nil, fmt.Errorf("decode journal of endpoints: its schema is %d, this version reads %d", d.Schema, journalSchema)
	}
	for link, e := range d.Endpoints {
		if e == nil {
			return nil, fmt.Errorf("decode journal of endpoints: %q is empty", link)
		}
		if name, _, err := hostnet.LinkNames(e.ID); err != nil || name != link {
			return nil, fmt.Errorf("decode journal of endpoints: %q is not the link of endpoint %q", link, e.ID)
		}
	}
	return &d, nil
}

// change applies do and writes the journal; when either fails nothing has changed.
func (j *journal) change(do func(*journalData) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := j.data
	next.Networks, next.Endpoints = maps.Clone(j.data.Networks), maps.Clone(j.data.Endpoints)
	if err := do(&next); err != nil {
		return err
	}
	if err := writeJournal(j.file, next); err != nil {
		return err
	}
	j.data = next
	return nil
}

// look reads without changing; what is seen must not be kept.
func (j *journal) look(do func(journalData)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	do(j.data)
}

// endpoints are those that a container has joined, by id.
func (j *journal) endpoints() []hostnet.Endpoint {
	var out []hostnet.Endpoint
	j.look(func(d journalData) {
		for _, link := range slices.Sorted(maps.Keys(d.Endpoints)) {
			if e := d.Endpoints[link]; e.Joined {
				out = append(out, hostnet.Endpoint{ID: e.ID, MAC: e.MAC, Addresses: e.Addresses, Create: e.Create, Rate: e.Rate, Egress: e.Egress})
			}
		}
	})
	return out
}

// writeJournal replaces the file in one step and has it on disk when it returns.
func writeJournal(file string, d journalData) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write journal of endpoints: %w", err)
		}
	}()
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return wholefile.ReplaceDurably(file, b)
}
