package bgp

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/sirupsen/logrus"
)

// bridge passes on what gobgp logs. Its warnings become ours; its chatter is dropped, as the speaker logs state changes itself. Why
// a connection could not be made is told nowhere else, so it is picked up here.
type bridge struct {
	log   logrus.FieldLogger
	inbox *inbox
	attrs []slog.Attr
}

// Names in gobgp's records.
const (
	gobgpPeer          = "Key"
	gobgpError         = "Error"
	gobgpConnectFailed = "failed to connect"
)

// ordinary says whether a warning of gobgp's warns of nothing.
func ordinary(message string) bool {
	switch message {
	case "failed to stop BGP server", // said by its Stop after StopBgp, which alone can stop gracefully
		"Closed an accepted connection",                        // of a peer that is back sooner than gobgp is ready for it
		"restart flag is not set",                              // of a peer that was not gone, only its connection
		"hold timer expired", "graceful restart timer expired": // the speaker says so itself
		return true
	}
	return false
}

// Enabled: the connection's failures are on the debug level.
func (b bridge) Enabled(context.Context, slog.Level) bool { return true }

func (b bridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	b.attrs = append(b.attrs[:len(b.attrs):len(b.attrs)], attrs...)
	return b
}

// WithGroup ignores the group: gobgp makes none.
func (b bridge) WithGroup(string) slog.Handler { return b }

// Handle takes one record.
func (b bridge) Handle(_ context.Context, r slog.Record) error {
	failed := r.Message == gobgpConnectFailed
	if r.Level < slog.LevelWarn && !failed || ordinary(r.Message) {
		return nil
	}
	fields := logrus.Fields{}
	for _, a := range b.attrs {
		fields[a.Key] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool {
		fields[a.Key] = a.Value.String()
		return true
	})
	if failed {
		peer, _ := fields[gobgpPeer].(string)
		reason, _ := fields[gobgpError].(string)
		if addr, err := netip.ParseAddr(peer); err == nil {
			b.inbox.happened(peerEvent{peer: addr, kind: connectFailure, reason: reason})
		}
		return nil
	}
	b.log.WithFields(fields).Warn("gobgp: " + r.Message)
	return nil
}
