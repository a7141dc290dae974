package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
)

const (
	maxLine    = 4 << 10
	maxClients = 64              // of a door at a time; more wait to be accepted
	clientTime = 3 * time.Second // for a whole exchange; Zabbix gives an agent as much

	maxStrangers = 64 // whose refusal is logged
)

// door is a way by which Zabbix comes.
type door struct {
	net.Listener
	name  string
	limit int            // the longest value that it takes
	allow []netip.Prefix // who may come; nil: whoever can
}

// open opens the doors: the socket for berth-zabbix, and the port where one is wanted.
func (m *Monitor) open(ctx context.Context) ([]door, error) {
	l, err := listen(ctx, m.o.Socket, m.o.SocketGroup)
	if err != nil {
		return nil, err
	}
	m.log.WithField("socket", m.o.Socket).Info("Answering Zabbix items")
	doors := []door{{Listener: l, name: m.o.Socket, limit: zabbix.LimitSocket}}
	if m.o.Listen == "" {
		return doors, nil
	}
	l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", m.o.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen as a Zabbix agent at %s: %w", m.o.Listen, err), doors[0].Close())
	}
	m.log.WithField("address", l.Addr().String()).WithField("allowed", fmt.Sprint(m.o.Allow)).Info("Answering as a Zabbix agent")
	return append(doors, door{Listener: l, name: l.Addr().String(), limit: zabbix.LimitPort, allow: m.o.Allow}), nil
}

// allowed says whether one at this address and port may ask.
func (d door) allowed(remote string) bool {
	if d.allow == nil {
		return true
	}
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := from.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(d.allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// serve answers until ctx ends, then closes the door.
func (m *Monitor) serve(ctx context.Context, d door) error {
	release := context.AfterFunc(ctx, func() { d.Close() })
	defer release()
	defer d.Close()
	var wait sync.WaitGroup
	defer wait.Wait()
	free := make(chan struct{}, maxClients)
	strangers := map[string]bool{}
	for {
		c, err := d.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() || isBusy(err) {
				m.log.WithError(err).Warn("Cannot accept a client now")
				if !pause(ctx, 100*time.Millisecond) {
					return nil
				}
				continue
			}
			return fmt.Errorf("accept clients at %s: %w", d.name, err)
		}
		if !d.allowed(c.RemoteAddr().String()) {
			m.refuse(c, strangers)
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			c.Close()
			return nil
		}
		wait.Go(func() {
			defer func() { <-free }()
			m.exchange(c, d.limit)
		})
	}
}

// refuse sends a stranger away without a word, as zabbix_agentd does, and logs each once.
func (m *Monitor) refuse(c net.Conn, known map[string]bool) {
	defer c.Close()
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil || known[host] || len(known) >= maxStrangers {
		return
	}
	known[host] = true
	m.log.WithField("address", host).Warn("Refused a Zabbix server that is not allowed: --zabbix-server names those that are")
}

// exchange answers one client: a frame by a frame, as Zabbix's processes speak, and a line without one, as berth-zabbix
// does. A client that goes away early is its own affair, so write errors are not reported.
func (m *Monitor) exchange(c net.Conn, limit int) {
	defer c.Close()
	now := time.Now()
	if err := c.SetDeadline(now.Add(clientTime)); err != nil {
		return
	}
	r := bufio.NewReaderSize(c, maxLine)
	head, err := r.Peek(1)
	if err != nil {
		return
	}
	if head[0] == 'Z' { // a key never begins so
		if data, err := zbxd.Read(r, zbxd.MaxRequest); err == nil {
			_, _ = c.Write(m.respond(data, now, limit))
		}
		return
	}
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		_, _ = c.Write(zbxd.Request{}.AppendFault(nil, fmt.Errorf("a request is one line of at most %d bytes", maxLine)))
		return
	}
	value, err := m.answer(strings.TrimRight(string(line), "\r\n"), now, limit)
	_, _ = c.Write(zbxd.Request{}.AppendAnswer(nil, zbxd.Result{Value: value, Err: err}))
}

// respond is the frame that answers a frame's data.
func (m *Monitor) respond(data []byte, now time.Time, limit int) []byte {
	q, err := zbxd.ParseRequest(data)
	if err != nil {
		return zbxd.Frame(q.AppendFault(nil, err))
	}
	results, size := make([]zbxd.Result, len(q.Keys)), 0
	for i, key := range q.Keys {
		r := &results[i]
		r.Value, r.Err = m.answer(key, now, limit)
		if size += len(r.Value); size > 2*limit {
			r.Value, r.Err = nil, errors.New("the values asked for together are too long: ask one at a time")
		}
	}
	return zbxd.Frame(q.AppendAnswer(nil, results...))
}

// answer gives an item's value from the newest figures, or the reason why there is none.
func (m *Monitor) answer(key string, now time.Time, limit int) ([]byte, error) {
	return m.view.Load().Answer(key, now, limit)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isBusy says that an accept failed for want of something that comes back: descriptors, memory, or the client itself.
func isBusy(err error) bool {
	for _, busy := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, busy) {
			return true
		}
	}
	return false
}
