// Package openmetrics serves a host's figures to Prometheus, in its text format, as OpenMetrics or as protobuf, whichever it asks
// for. It answers from the newest snapshot, so a scrape reads nothing from the kernel.
package openmetrics

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/net/netutil"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/series"
)

// Bounds of the server: whoever reaches it can ask, but not keep it busy.
const (
	maxConnections = 64
	maxScrapes     = 4 // at a time
	maxHeader      = 16 << 10
	readTimeout    = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	shutdown       = time.Second
)

// Write encodes a snapshot. A family without series is left out.
func Write(w io.Writer, format expfmt.Format, s *figures.Snapshot) error {
	encoder := expfmt.NewEncoder(w, format, expfmt.WithUnit())
	labels := instanceLabels(s)
	families := series.Families()
	for n := range families {
		if f := family(&families[n], s, labels); len(f.Metric) > 0 {
			if err := encoder.Encode(f); err != nil {
				return fmt.Errorf("encode %s: %w", families[n].Name, err)
			}
		}
	}
	if end, ok := encoder.(expfmt.Closer); ok {
		return end.Close()
	}
	return nil
}

// instanceLabels are the labels that all series of each instance have.
func instanceLabels(s *figures.Snapshot) map[*figures.Instance][]*dto.LabelPair {
	all := make(map[*figures.Instance][]*dto.LabelPair, len(s.Instances)+1)
	host := pair("host", s.Host.Name)
	all[nil] = []*dto.LabelPair{host}
	for n := range s.Instances {
		i := &s.Instances[n]
		all[i] = []*dto.LabelPair{pair("app", i.App), host, pair("seat", strconv.Itoa(i.Seat))}
	}
	return all
}

// pair is a label; a text that is not UTF-8 is made so, as formats may not hold others.
func pair(name, value string) *dto.LabelPair {
	value = strings.ToValidUTF8(value, "�")
	return &dto.LabelPair{Name: &name, Value: &value}
}

// family is one family with all its series.
func family(f *series.Family, s *figures.Snapshot, labels map[*figures.Instance][]*dto.LabelPair) *dto.MetricFamily {
	kind := dto.MetricType_GAUGE
	if f.Kind == series.Counter {
		kind = dto.MetricType_COUNTER
	}
	out := &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: &kind}
	if f.Unit != "" && f.Kind != series.Info {
		out.Unit = &f.Unit
	}
	f.Each(s, func(i *figures.Instance, value float64, extra ...string) {
		m := &dto.Metric{Label: labels[i]}
		if len(extra) > 0 {
			m.Label = slices.Clip(m.Label)
			for n, text := range extra {
				m.Label = append(m.Label, pair(f.Labels[n], text))
			}
			slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
		}
		if kind == dto.MetricType_COUNTER {
			m.Counter = &dto.Counter{Value: &value}
		} else {
			m.Gauge = &dto.Gauge{Value: &value}
		}
		out.Metric = append(out.Metric, m)
	})
	return out
}

// Newest gives the newest snapshot.
type Newest func() *figures.Snapshot

// Handler answers scrapes at every path that it is asked at.
func Handler(newest Newest) http.Handler {
	free := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are under way already", maxScrapes), http.StatusServiceUnavailable)
			return
		}
		s := newest()
		if s.At.IsZero() {
			http.Error(w, "nothing was measured yet", http.StatusServiceUnavailable)
			return
		}
		answer(w, r, s)
	})
}

// answer writes the snapshot as it was asked for. A client that goes away early is its own affair.
func answer(w http.ResponseWriter, r *http.Request, s *figures.Snapshot) {
	format := expfmt.NegotiateIncludingOpenMetrics(r.Header)
	w.Header().Set("Content-Type", string(format))
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	if r.Method == http.MethodHead {
		return
	}
	var to io.Writer = w
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		packed, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a valid one
		defer packed.Close()
		to = packed
	}
	_ = Write(to, format, s)
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.TrimSpace(weight) != "q=0" {
			return true
		}
	}
	return false
}

// Serve answers at /metrics until ctx ends.
func Serve(ctx context.Context, l net.Listener, newest Newest) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", Handler(newest))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
	}
	stopped := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(stopped)
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		if server.Shutdown(soon) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(netutil.LimitListener(l, maxConnections))
	if !release() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve Prometheus at %s: %w", l.Addr(), err)
}
