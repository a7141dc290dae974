package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-project/berth/spec"
)

// maxWait bounds a host's long poll.
const maxWait = time.Minute

// getHostDocument is GET /berth/v1/hosts/{host}/document?version=N&wait=30s&survey=S&anew=A: the document when it is newer than
// N, 204 when wait passes without one, or when there is a question that the host does not know; every answer has the
// questions' numbers in its headers.
func (s *Server) getHostDocument(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q := r.URL.Query()
		var version uint64
		var known spec.HostAsk
		var wait time.Duration
		var err error
		for name, field := range map[string]*uint64{"version": &version, "survey": &known.Survey, "anew": &known.Anew} {
			if text := q.Get(name); text != "" {
				if *field, err = strconv.ParseUint(text, 10, 64); err != nil {
					return fail(http.StatusBadRequest, "%s=%q is no number", name, text)
				}
			}
		}
		if text := q.Get("wait"); text != "" {
			if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
				return fail(http.StatusBadRequest, "wait=%q is no duration, such as 30s", text)
			}
		}
		stream, stop := streamContext(r)
		defer stop()
		ctx, cancel := context.WithTimeout(stream, min(wait, maxWait))
		defer cancel()
		ask, asked := s.o.Backend.Asked()
		if !q.Has("survey") {
			known = ask // an agent that cannot be asked
		}
		if ask != known {
			cancel()
		}
		go func() {
			select {
			case <-asked:
				cancel()
			case <-ctx.Done():
			}
		}()
		doc, err := s.o.Backend.HostDocument(ctx, host, version)
		if err != nil && !(ctx.Err() != nil && errors.Is(err, ctx.Err())) {
			return fmt.Errorf("document of host %s: %w", host, err)
		}
		ask, _ = s.o.Backend.Asked()
		w.Header().Set(spec.HeaderSurvey, strconv.FormatUint(ask.Survey, 10))
		w.Header().Set(spec.HeaderAnew, strconv.FormatUint(ask.Anew, 10))
		if doc == nil || doc.Version <= version {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return respond(w, r, http.StatusOK, doc)
	}
}

// postHostReport is POST /berth/v1/hosts/{host}/report.
func (s *Server) postHostReport(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		var report spec.HostReport
		if err := decodeJSON(body, &report); err != nil {
			return err
		}
		if report.Host != host {
			return fail(http.StatusBadRequest, "The report is of host %q, the path names %q.", report.Host, host)
		}
		if err := s.o.Backend.Report(r.Context(), report); err != nil {
			return fmt.Errorf("report of host %s: %w", host, err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
